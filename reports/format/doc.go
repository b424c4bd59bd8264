// Package format writes numbers as text for people, reads numbers from settings,
// and makes names from files safe to show: what could hide or reorder text is
// spelled out.
package format

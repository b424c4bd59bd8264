// Package parallel runs a loop on all processors.
package parallel

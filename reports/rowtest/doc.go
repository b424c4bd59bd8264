// Package rowtest makes up rows for the tests of the rooms of reports. Nothing in
// them was measured.
package rowtest

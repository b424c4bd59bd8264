//go:build !unix

package zipper

import "time"

// clock returns seconds of the wall clock.
func clock() float64 { return float64(time.Now().UnixNano()) / 1e9 }

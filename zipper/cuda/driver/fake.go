//go:build cuda && linux && cgo

package driver

import (
	"fmt"
	"strings"

	"gorgonia.org/cu"
)

// Attributes of the fake driver (../fake), which no other driver has.
const (
	emulated    = 10000
	fakeCalls   = 10001
	fakeObjects = 10002 // and the following
)

// FakeCalls is the number of calls that the fake driver has counted; -1 under
// a real one.
func FakeCalls() int {
	n, err := cu.Device(0).Attribute(fakeCalls)
	if err != nil {
		return -1
	}
	return n
}

// FakeObjects lists what lives in the fake driver: "3 buffers, 1 contexts".
func FakeObjects() string {
	var list []string
	for i, kind := range []string{"buffers", "streams", "events", "modules", "pinned buffers", "contexts",
		"cuBLAS handles"} {
		if n, err := cu.Device(0).Attribute(cu.DeviceAttribute(fakeObjects + i)); err == nil && n != 0 {
			list = append(list, fmt.Sprintf("%d %s", n, kind))
		}
	}
	return strings.Join(list, ", ")
}

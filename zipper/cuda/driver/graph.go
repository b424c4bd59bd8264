//go:build cuda && linux && cgo

package driver

// #include "shim.h"
import "C"

import (
	"errors"
	"unsafe"
)

// Graph is work of a stream that was recorded, and can be put into a stream again as a whole: the
// host is done with it in the time of one launch.
type Graph struct{ exec unsafe.Pointer }

// handle is what the driver knows the stream by.
func (s *Stream) handle() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&s.s)) }

// Capture records what f puts into s, which does not run. Meanwhile nothing may wait for the
// device, and no memory be allocated or freed. Buffers that the work names must live as long as the graph.
func (c *Context) Capture(s *Stream, f func() error) (*Graph, error) {
	const threadLocal = 1 // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
	if err := result(int(C.cuStreamBeginCapture_v2(s.handle(), threadLocal)), "cuStreamBeginCapture", ""); err != nil {
		return nil, err
	}
	err := f()
	var graph, exec unsafe.Pointer
	err = errors.Join(err, result(int(C.cuStreamEndCapture(s.handle(), &graph)), "cuStreamEndCapture", ""))
	if err == nil {
		err = result(int(C.cuGraphInstantiateWithFlags(&exec, graph, 0)), "cuGraphInstantiate", "")
	}
	if graph != nil {
		err = errors.Join(err, result(int(C.cuGraphDestroy(graph)), "cuGraphDestroy", ""))
	}
	if exec == nil {
		return nil, err
	}
	c.live["graphs"]++
	g := &Graph{exec}
	if err != nil {
		return nil, errors.Join(err, c.FreeGraph(g))
	}
	return g, nil
}

// FreeGraph destroys g; nil is left alone.
func (c *Context) FreeGraph(g *Graph) error {
	if g == nil {
		return nil
	}
	c.live["graphs"]--
	return result(int(C.cuGraphExecDestroy(g.exec)), "cuGraphExecDestroy", "")
}

// Launch puts the work of g into s.
func (g *Graph) Launch(s *Stream) error {
	return result(int(C.cuGraphLaunch(g.exec, s.handle())), "cuGraphLaunch", "")
}

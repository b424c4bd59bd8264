//go:build cuda && linux && cgo

package cuda

import (
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// The images are PTX for compute_80; the driver compiles them for newer devices.
//
//go:embed kernels/table.tsv kernels/*.ptx.gz
var images embed.FS

// Device is a GPU with kernels. Its methods and those of its layers are not safe
// for concurrent use: they share a stream.
type Device struct {
	Info driver.Info

	worker  *driver.Device
	table   map[string]kernel
	modules map[string]*driver.Module
	loaded  map[string]*driver.Kernel
	stream  *driver.Stream
	start   *driver.Event
	stop    *driver.Event
	scratch driver.Buffer // see Flush and delay
	blas    *driver.CuBLAS
	blasErr error // why there is none
}

// Open opens a device, counted from 0. Without a driver or such a device it
// returns an error that says so. A device older than sm_80 is refused.
func Open(ordinal int) (*Device, error) {
	text, err := images.ReadFile("kernels/table.tsv")
	if err != nil {
		return nil, err
	}
	table, err := readTable(string(text))
	if err != nil {
		return nil, err
	}
	worker, err := driver.Open(ordinal)
	if err != nil {
		return nil, err
	}
	d := &Device{worker: worker, table: table, modules: map[string]*driver.Module{}, loaded: map[string]*driver.Kernel{}}
	if err := worker.Do(d.open); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Device) open(c *driver.Context) (err error) {
	if d.Info, err = c.Info(); err != nil {
		return err
	}
	if d.Info.Capability < "8.0" && len(d.Info.Capability) == 3 {
		return fmt.Errorf("cuda: %s has compute capability %s; the kernels need 8.0", d.Info.Name, d.Info.Capability)
	}
	if d.stream, err = c.NewStream(); err != nil {
		return err
	}
	if d.start, err = c.NewEvent(); err != nil {
		return err
	}
	if d.stop, err = c.NewEvent(); err != nil {
		return err
	}
	if d.scratch, err = c.Alloc(max(delayBytes*2, 4*d.Info.L2)); err != nil {
		return err
	}
	if err = d.stream.Fill(d.scratch, 0, d.scratch.Size(), 0); err != nil {
		return err
	}
	d.blas, d.blasErr = c.NewCuBLAS(d.stream)
	return d.stream.Synchronize()
}

// Close frees what the device holds; its layers must have been closed.
func (d *Device) Close() error {
	err := d.worker.Do(func(c *driver.Context) error {
		err := errors.Join(c.FreeCuBLAS(d.blas), c.Free(&d.scratch), c.FreeEvent(d.start), c.FreeEvent(d.stop), c.FreeStream(d.stream))
		for _, m := range d.modules {
			err = errors.Join(err, c.Unload(m))
		}
		return err
	})
	return errors.Join(err, d.worker.Close())
}

// CuBLAS tells cuBLAS's version, or why there is none.
func (d *Device) CuBLAS() (version int, err error) {
	if d.blas == nil {
		return 0, d.blasErr
	}
	return d.blas.Version, nil
}

// kernel returns a kernel ready to launch, loading its image first.
func (d *Device) kernel(c *driver.Context, name string) (*driver.Kernel, kernel, error) {
	k, ok := d.table[name]
	if !ok {
		return nil, k, fmt.Errorf("cuda: no kernel %s", name)
	}
	if f := d.loaded[name]; f != nil {
		return f, k, nil
	}
	m, err := d.module(c, k.image)
	if err != nil {
		return nil, k, err
	}
	f, err := m.Kernel(name)
	if err != nil {
		return nil, k, err
	}
	if err := f.AllowShared(k.shared); err != nil {
		return nil, k, err
	}
	d.loaded[name] = f
	return f, k, nil
}

// module returns an image, loading it first.
func (d *Device) module(c *driver.Context, name string) (*driver.Module, error) {
	if m := d.modules[name]; m != nil {
		return m, nil
	}
	image, err := readImage(name)
	if err != nil {
		return nil, err
	}
	m, err := c.Load(image)
	if err != nil {
		return nil, fmt.Errorf("kernels/%s.ptx: %w", name, err)
	}
	d.modules[name] = m
	return m, nil
}

func readImage(name string) ([]byte, error) {
	f, err := images.Open("kernels/" + name + ".ptx.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("kernels/%s.ptx.gz: %w", name, err)
	}
	return io.ReadAll(z)
}

// Compile loads all kernels, which the driver compiles on a device that it has
// not met yet.
func (d *Device) Compile() error {
	return d.worker.Do(func(c *driver.Context) error {
		for name := range d.table {
			if _, _, err := d.kernel(c, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// tokens lists the token tiles that there are of a kind of kernel, ascending.
func (d *Device) tokens(scheme Scheme, kind string) []int {
	var list []int
	for name, k := range d.table {
		if strings.HasPrefix(name, string(scheme)+"_"+kind+"_t") {
			list = append(list, k.tokens)
		}
	}
	slices.Sort(list)
	return list
}

// Flush fills the L2 cache with other data, in the order of the stream.
func (d *Device) Flush() error {
	return d.worker.Do(func(*driver.Context) error {
		return d.stream.Fill(d.scratch, 0, d.scratch.Size(), 0)
	})
}

// delayBytes keeps one block busy for some tens of microseconds.
const delayBytes = 2 << 20

// timed runs f, which puts work into the stream, and returns how long the work
// took on the device. A copy by a single block runs before it, so that all of
// it is queued when its first kernel starts: else the time would be that of the
// launches, which take longer on the host than a small product on the device.
func (d *Device) timed(c *driver.Context, f func() error) (time.Duration, error) {
	k, t, err := d.kernel(c, "copy16")
	if err != nil {
		return 0, err
	}
	err = k.Launch(d.stream, driver.Dim{X: 1, Y: 1, Z: 1}, driver.Dim{X: t.threads, Y: 1, Z: 1}, t.shared,
		d.scratch.Address(), d.scratch.Address()+delayBytes, delayBytes/16)
	if err != nil {
		return 0, err
	}
	if err := d.start.Record(d.stream); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	if err := d.stop.Record(d.stream); err != nil {
		return 0, err
	}
	if err := d.stream.Synchronize(); err != nil {
		return 0, err
	}
	s, err := d.stop.Since(d.start)
	return time.Duration(s * float64(time.Second)), err
}

// CopyBandwidth copies bytes from one buffer to another and returns the bytes
// read and written per second.
func (d *Device) CopyBandwidth(bytes int64) (rate float64, err error) {
	err = d.worker.Do(func(c *driver.Context) (err error) {
		var from, to driver.Buffer
		defer func() { err = errors.Join(err, c.Free(&from), c.Free(&to)) }()
		if from, err = c.Alloc(bytes); err != nil {
			return err
		}
		if to, err = c.Alloc(bytes); err != nil {
			return err
		}
		if err = d.stream.Fill(from, 0, bytes, 1); err != nil {
			return err
		}
		for range 2 { // the first is a warm-up
			took, err := d.timed(c, func() error { return d.stream.Copy(to, from, bytes) })
			if err != nil {
				return err
			}
			rate = 2 * float64(bytes) / took.Seconds()
		}
		return nil
	})
	return rate, err
}

// GEMMRate multiplies two n x n matrices of bfloat16 by cuBLAS and returns the
// floating-point operations per second.
func (d *Device) GEMMRate(n int) (rate float64, err error) {
	if d.blas == nil {
		return 0, d.blasErr
	}
	err = d.worker.Do(func(c *driver.Context) (err error) {
		var b [3]driver.Buffer
		defer func() {
			for i := range b {
				err = errors.Join(err, c.Free(&b[i]))
			}
		}()
		for i := range b {
			if b[i], err = c.Alloc(2 * int64(n) * int64(n)); err != nil {
				return err
			}
			// Numbers other than zero: power, and so clocks, depend on them.
			if err = d.stream.Fill(b[i], 0, b[i].Size(), byte(0x3d+i)); err != nil {
				return err
			}
		}
		for range 2 { // the first is a warm-up
			took, err := d.timed(c, func() error { return d.blas.GEMM(b[2], b[0], b[1], n, n, n) })
			if err != nil {
				return err
			}
			rate = 2 * float64(n) * float64(n) * float64(n) / took.Seconds()
		}
		return nil
	})
	return rate, err
}

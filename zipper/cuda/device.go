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

	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// The images are machine code for two architectures, and PTX for compute_80,
// which the driver compiles for other devices.
//
//go:embed kernels/table.tsv kernels/*.ptx.gz kernels/*.cubin.gz
var images embed.FS

// imageKind is the ending of the image for a compute capability, such as "9.0".
func imageKind(capability string) string {
	switch capability {
	case "8.0", "9.0":
		return ".sm_" + strings.ReplaceAll(capability, ".", "") + ".cubin"
	}
	return ".ptx"
}

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
	scratch driver.Buffer    // zeros, only read: see flush
	sink    driver.Buffer    // where flush would write
	copies  [2]driver.Buffer // of CopyBandwidth
	factors [3]driver.Buffer // of GEMMRate
	blas    *driver.CuBLAS
	blasErr error // why there is none
	tuned   map[tuning]Tile

	part, count driver.Buffer // workspace of all products of Work.Multiply
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
	d := &Device{worker: worker, table: table, modules: map[string]*driver.Module{}, loaded: map[string]*driver.Kernel{},
		tuned: map[tuning]Tile{}}
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
	if d.sink, err = c.Alloc(16); err != nil {
		return err
	}
	if d.scratch, err = c.Alloc(4 * d.Info.L2); err != nil {
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
		err := errors.Join(c.FreeCuBLAS(d.blas), c.Free(&d.scratch), c.Free(&d.sink), c.FreeEvent(d.start),
			c.FreeEvent(d.stop), c.FreeStream(d.stream))
		for _, b := range []*driver.Buffer{&d.copies[0], &d.copies[1], &d.factors[0], &d.factors[1], &d.factors[2],
			&d.part, &d.count} {
			err = errors.Join(err, c.Free(b))
		}
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
	file := name + imageKind(d.Info.Capability)
	image, err := readImage(file)
	if err != nil {
		return nil, err
	}
	m, err := c.Load(image)
	if err != nil {
		return nil, fmt.Errorf("kernels/%s: %w", file, err)
	}
	d.modules[name] = m
	return m, nil
}

// readImage returns an image, "w4a8.ptx", as the driver takes it.
func readImage(name string) ([]byte, error) {
	f, err := images.Open("kernels/" + name + ".gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("kernels/%s.gz: %w", name, err)
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

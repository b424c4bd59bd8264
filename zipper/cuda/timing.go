//go:build cuda && linux && cgo

package cuda

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	f16 "github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/zipper/cuda/driver"
)

// Flush fills the L2 cache with other data, in the order of the stream.
func (d *Device) Flush() error { return d.worker.Do(d.flush) }

// flush reads. What a fill writes stays in the cache, and goes to memory while the
// next kernel, the timed one, wants to use it.
func (d *Device) flush(c *driver.Context) error {
	return d.launch(c, "read16", 8*d.Info.SMs, d.sink.Address(), d.scratch.Address(), uint64(d.scratch.Size()/16))
}

// launch puts a kernel into the stream with a grid of so many blocks.
func (d *Device) launch(c *driver.Context, name string, blocks int, args ...uint64) error {
	f, k, err := d.kernel(c, name)
	if err != nil {
		return err
	}
	return f.Launch(d.stream, driver.Dim{X: blocks, Y: 1, Z: 1}, driver.Dim{X: k.threads, Y: 1, Z: 1}, k.shared, args...)
}

// Putting a kernel into a stream takes the host a few microseconds, often longer
// than the kernel runs. launchTime is more than that, mostly.
const (
	launchTime = 8 * time.Microsecond
	startTime  = 30 * time.Microsecond // for the first of them
	// usualClock in kHz is taken where the driver does not tell the device's.
	usualClock = 2_000_000
)

// timed runs f, which puts work of so many kernels into the stream, and returns how
// long the work took on the device. A delay runs before it, so that all of it
// is queued when its first kernel starts: else the time would be that of the
// launches.
func (d *Device) timed(c *driver.Context, kernels int, f func() error) (time.Duration, error) {
	clock := d.Info.ClockKHz
	if clock == 0 {
		clock = usualClock
	}
	wait := startTime + time.Duration(kernels)*launchTime
	if err := d.launch(c, "delay", 1, uint64(float64(clock)*1e3*wait.Seconds())); err != nil {
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

// Profile runs f where a profiler looks that does not look from the start. All that
// f has put into the stream is done when it ends.
func (d *Device) Profile(f func() error) error {
	if err := d.worker.Do(func(c *driver.Context) error { return c.StartProfiler() }); err != nil {
		return err
	}
	err := f()
	return errors.Join(err, d.worker.Do(func(c *driver.Context) error {
		return errors.Join(d.stream.Synchronize(), c.StopProfiler())
	}))
}

// CopyBandwidth copies bytes from one buffer to another and returns the bytes
// read and written per second. The buffers stay allocated until Close.
func (d *Device) CopyBandwidth(bytes int64) (rate float64, err error) {
	err = d.worker.Do(func(c *driver.Context) error {
		fresh, err := d.allocate(c, d.copies[:], bytes)
		if err != nil {
			return err
		}
		if fresh {
			if err := d.stream.Fill(d.copies[0], 0, bytes, 1); err != nil {
				return err
			}
		}
		took, err := d.timed(c, 1, func() error { return d.stream.Copy(d.copies[1], d.copies[0], bytes) })
		rate = 2 * float64(bytes) / took.Seconds()
		return err
	})
	return rate, err
}

// allocate makes all buffers exactly size bytes long, and reports whether it had to.
func (d *Device) allocate(c *driver.Context, buffers []driver.Buffer, size int64) (fresh bool, err error) {
	for i := range buffers {
		if buffers[i].Size() == size {
			continue
		}
		fresh = true
		if err := c.Free(&buffers[i]); err != nil {
			return true, err
		}
		if buffers[i], err = c.Alloc(size); err != nil {
			return true, err
		}
	}
	return fresh, nil
}

// GEMMRate multiplies two n x n matrices of bfloat16 by cuBLAS and returns the
// floating-point operations per second. The matrices are random: on zeros and
// on constants a device needs less power, and so runs at a higher clock. They
// stay allocated until Close.
func (d *Device) GEMMRate(n int) (rate float64, err error) {
	if d.blas == nil {
		return 0, d.blasErr
	}
	err = d.worker.Do(func(c *driver.Context) error {
		multiply := func() error { return d.blas.GEMM(d.factors[2], d.factors[0], d.factors[1], n, n, n) }
		fresh, err := d.allocate(c, d.factors[:], 2*int64(n)*int64(n))
		if err == nil && fresh {
			for i, b := range d.factors[:2] {
				if err := uploadRandom(c, b, uint64(i)); err != nil {
					return err
				}
			}
			_, err = d.timed(c, 1, multiply) // cuBLAS chooses its kernel
		}
		if err != nil {
			return err
		}
		took, err := d.timed(c, 1, multiply)
		rate = 2 * float64(n) * float64(n) * float64(n) / took.Seconds()
		return err
	})
	return rate, err
}

// uploadRandom fills b with standard normal numbers in bfloat16. They repeat
// after some rows, which no multiplier notices.
func uploadRandom(c *driver.Context, b driver.Buffer, seed uint64) error {
	const most = 4 << 20
	rng := rand.New(rand.NewPCG(seed, 16))
	block := make([]byte, min(most, b.Size()))
	for i := 0; i+1 < len(block); i += 2 {
		binary.LittleEndian.PutUint16(block[i:], f16.ToBF16(float32(rng.NormFloat64())))
	}
	for at := int64(0); at < b.Size(); at += int64(len(block)) {
		if err := c.Upload(b, at, block[:min(int64(len(block)), b.Size()-at)]); err != nil {
			return err
		}
	}
	return nil
}

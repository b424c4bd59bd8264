package store

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Codec turns values into bytes and back.
type Codec[T any] struct {
	Write func(w io.Writer, v T) error
	Read  func(r io.Reader, size int64) (T, error)
}

// call is a computation under way.
type call struct {
	done  chan struct{}
	value any
	err   error
}

// Do returns the value of k: from s, or by compute, whose result it stores.
// Callers of one process who want the same key at the same time share one
// computation and one value, which must not be modified; each waits no longer
// than its own ctx. When the caller that computes is cancelled, one of those
// who wait computes instead. A value that cannot be stored is returned all the
// same, see Keep.
func Do[T any](ctx context.Context, s *Store, k Key, codec Codec[T],
	compute func(context.Context) (T, error)) (T, error) {
	var zero T
	for {
		if err := ctx.Err(); err != nil {
			return zero, err
		}
		s.mu.Lock()
		c, running := s.flight[k]
		if !running {
			c = &call{done: make(chan struct{})}
			s.flight[k] = c
		}
		s.mu.Unlock()
		if !running {
			v, err := lead(ctx, s, k, c, codec, compute)
			return v, err
		}
		select {
		case <-ctx.Done():
			return zero, ctx.Err()
		case <-c.done:
		}
		if c.err == nil {
			return c.value.(T), nil
		}
		if !errors.Is(c.err, context.Canceled) && !errors.Is(c.err, context.DeadlineExceeded) && c.err != errPanicked {
			return zero, c.err
		}
		// The other's cancellation is not ours.
	}
}

var errPanicked = errors.New("the computation panicked")

// lead does the work of c.
func lead[T any](ctx context.Context, s *Store, k Key, c *call, codec Codec[T],
	compute func(context.Context) (T, error)) (v T, err error) {
	c.err = errPanicked // unless the end is reached
	defer func() {
		s.mu.Lock()
		delete(s.flight, k)
		s.mu.Unlock()
		close(c.done)
	}()
	err = s.Get(k, func(r io.Reader, size int64) (err error) {
		v, err = codec.Read(r, size)
		return err
	})
	if err != nil {
		if !errors.Is(err, ErrAbsent) {
			s.warn(fmt.Sprintf("%v; it is computed again", err))
		}
		if v, err = compute(ctx); err == nil {
			if _, err := s.Keep(k, func(w io.Writer) error { return codec.Write(w, v) }); err != nil {
				s.warn(err.Error())
			}
		}
	}
	c.value, c.err = v, err
	return v, err
}

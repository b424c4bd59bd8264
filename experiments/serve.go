package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/row"
	"github.com/mosaicquant/mosaicquant/reports"
)

// serveReport serves the report of dir at addr, which must be a loopback
// address, until ctx ends. It writes nothing.
func serveReport(ctx context.Context, out io.Writer, dir, assets, addr string) error {
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a results folder", dir)
	}
	ln, err := listenLoopback(ctx, addr)
	if err != nil {
		return err
	}
	l := &liveReport{dir: dir}
	if err := useAssets(ctx, &l.assets, assets); err != nil {
		ln.Close()
		return err
	}
	if _, _, err := l.render(); err != nil { // say now what would fail later
		ln.Close()
		return err
	}
	srv := &http.Server{Handler: l.handler(), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(out, "serving http://%s/ until Ctrl-C\n", ln.Addr())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if srv.Shutdown(end) != nil {
		srv.Close() // a page may still be drawn; no request waits for it
	}
	return nil
}

// listenLoopback refuses every address that another machine could reach.
func listenLoopback(ctx context.Context, addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--addr %s: want HOST:PORT, such as 127.0.0.1:0: %w", addr, err)
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("--addr %s: %q is not a loopback address; reports are served to this machine alone: use "+
			"127.0.0.1, [::1] or localhost", addr, host)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--addr %s: %w", addr, err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // what localhost resolved to
		ln.Close()
		return nil, fmt.Errorf("--addr %s: %s is not a loopback address", addr, ln.Addr())
	}
	return ln, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// liveReport draws a results folder again whenever its files have changed.
type liveReport struct {
	dir    string
	assets reports.Input // Script and NoCharts alone

	mu   sync.Mutex
	live reports.Live
	in   reports.Input // of live.Version
	page []byte        // of live.Version, nil until asked for
}

// handler serves the page at / and the progress at /progress. It answers only
// requests made to a loopback name, so that no website can have its own name
// point here and read the report.
func (l *liveReport) handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(kind string, body func() ([]byte, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			data, err := body()
			if err != nil {
				w.Header().Set("Refresh", "3") // a page in place of the report tries again
				http.Error(w, "the report cannot be drawn: "+err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", kind)
			w.Write(data)
		}
	}
	mux.Handle("GET /{$}",
		answer("text/html; charset=utf-8", func() ([]byte, error) { page, _, err := l.render(); return page, err }))
	mux.Handle("GET /progress", answer("application/json", func() ([]byte, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err := l.read(); err != nil {
			return nil, err
		}
		return json.Marshal(l.live)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !isLoopback(host) {
			http.Error(w, fmt.Sprintf("%q is not this machine's loopback name", r.Host), http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "frame-ancestors 'none'") // the rest is in the page
		mux.ServeHTTP(w, r)
	})
}

// render returns the page of the folder as it is now.
func (l *liveReport) render() ([]byte, reports.Live, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.read(); err != nil {
		return nil, reports.Live{}, err
	}
	if l.page == nil {
		in := l.in
		in.Script, in.NoCharts, in.Live = l.assets.Script, l.assets.NoCharts, &l.live
		page, err := reports.Page(in)
		if err != nil {
			return nil, l.live, err
		}
		l.page = page
	}
	return l.page, l.live, nil
}

// read reads the folder if it has changed; l.mu is held.
func (l *liveReport) read() error {
	version, err := stamp(l.dir) // first: what changes while it is read changes the version once more
	if err != nil || version == l.live.Version {
		return err
	}
	in, err := readRunning(l.dir)
	if err != nil {
		return err
	}
	live := progressOf(in)
	live.Version = version
	l.live, l.in, l.page = live, in, nil
	return nil
}

// stamp changes with the files that a report is made from.
func stamp(dir string) (string, error) {
	s := ""
	files, err := row.Files(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, file := range append(files, filepath.Join(dir, "config.yaml"), filepath.Join(dir, row.EnvironmentFile)) {
		info, err := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s += "none "
		case err != nil:
			return "", err
		default:
			s += fmt.Sprintf("%x.%x ", info.Size(), info.ModTime().UnixNano())
		}
	}
	return s, nil
}

// readRunning reads the folder of a sweep that may not have a row yet.
func readRunning(dir string) (reports.Input, error) {
	if _, err := row.Files(dir); errors.Is(err, fs.ErrNotExist) {
		in := reports.Input{Title: filepath.Base(dir), Styles: methodStyles()}
		return in, describeSweep(&in, dir)
	}
	return readFolder(dir)
}

// progressOf counts the planned trials that have a row, by their settings: the
// trial IDs of a plan take the model and texts to compute. Without a sweep file
// that can be read (the page says why) it counts rows.
func progressOf(in reports.Input) reports.Live {
	var live reports.Live
	status := map[string]row.Status{}
	for _, r := range row.Merge(in.Rows) {
		status[fmt.Sprint(r.Axes)] = r.Status // maps print in the order of their keys
	}
	var keys []string
	if sw, err := plan.Parse("config.yaml", []byte(in.Config)); err == nil {
		live.Planned = len(sw.Trials)
		for _, t := range sw.Trials {
			keys = append(keys, fmt.Sprint(t.Axes()))
		}
	} else {
		keys = slices.Collect(maps.Keys(status))
	}
	for _, k := range keys {
		if s, ok := status[k]; ok {
			live.Finished++
			if s != row.OK {
				live.Failed++
			}
		}
	}
	return live
}

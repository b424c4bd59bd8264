package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/mosaicquant/mosaicquant/reports"
	"github.com/mosaicquant/mosaicquant/reports/figures"
)

// chartScriptLimit bounds what is read as a chart script; the real one has 1 MB.
const chartScriptLimit = 16 << 20

// scriptPlaces are where a folder may hold the chart script: itself, an
// unpacked npm package, around one, and where npm install puts it.
var scriptPlaces = []string{"echarts.min.js", "dist/echarts.min.js", "package/dist/echarts.min.js",
	"node_modules/echarts/dist/echarts.min.js"}

// useAssets applies --assets to in: "" leaves the charts to go-echarts' own
// host, "none" leaves them out, "npm" asks the user's npm for the script, and
// anything else is the script or a folder that holds it.
func useAssets(ctx context.Context, in *reports.Input, assets string) error {
	var script []byte
	var err error
	switch assets {
	case "":
		return nil
	case "none":
		in.NoCharts = true
		return nil
	case "npm":
		script, err = npmScript(ctx)
	default:
		script, err = readScript(assets)
	}
	if err == nil {
		err = figures.CheckScript(string(script))
	}
	if err != nil {
		return fmt.Errorf("--assets %s: %w", assets, err)
	}
	in.Script = string(script)
	return nil
}

func readScript(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return readLimited(file)
	}
	for _, place := range scriptPlaces {
		script, err := readLimited(filepath.Join(file, filepath.FromSlash(place)))
		if !errors.Is(err, fs.ErrNotExist) {
			return script, err
		}
	}
	return nil, fmt.Errorf("the folder has none of %s", strings.Join(scriptPlaces, ", "))
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return limited(f)
}

func limited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, chartScriptLimit+1))
	if err == nil && len(data) > chartScriptLimit {
		err = fmt.Errorf("more than %d bytes, which no chart script has", chartScriptLimit)
	}
	return data, err
}

// npmScript has npm fetch the package and takes the script out of it.
func npmScript(ctx context.Context) ([]byte, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, fmt.Errorf("npm is not to be found (%w); give the file dist/echarts.min.js of echarts %s instead", err,
			figures.EchartsVersion)
	}
	dir, err := os.MkdirTemp("", "mosaicquant-npm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	what := "echarts@" + figures.EchartsVersion
	cmd := exec.CommandContext(ctx, npm, "pack", "--ignore-scripts", what)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("npm pack %s: %w: %s", what, err, strings.TrimSpace(stderr.String()))
	}
	packed, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil {
		return nil, err
	}
	if len(packed) != 1 {
		return nil, fmt.Errorf("npm pack %s left %d packages, want 1", what, len(packed))
	}
	f, err := os.Open(packed[0])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	script, err := fromPackage(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(packed[0]), err)
	}
	return script, nil
}

// fromPackage returns the chart script of an npm package. It reads that one
// entry into memory and writes nothing, so that no path in the package counts.
func fromPackage(r io.Reader) ([]byte, error) {
	const name = "package/dist/echarts.min.js"
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("has no file %s", name)
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(h.Name) == name && h.Typeflag == tar.TypeReg {
			return limited(files)
		}
	}
}

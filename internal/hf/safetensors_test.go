package hf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
)

// file is a safetensors file of any header and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func mapFS(files map[string][]byte) Files {
	m := fstest.MapFS{}
	for name, data := range files {
		m[name] = &fstest.MapFile{Data: data}
	}
	return FS("model", m)
}

// wantError demands an error that contains every part.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestSafetensorsBad(t *testing.T) {
	length := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), "{}"...) }
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "truncated: 0 bytes"},
		{"seven bytes", make([]byte, 7), "truncated: 7 bytes"},
		{"header beyond the file", length(3), "header of 3 bytes in a file of 10"},
		{"absurd header", length(math.MaxUint64), "header length 18446744073709551615"},
		{"no JSON", file("hello", 0), "not JSON"},
		{"cut JSON", file(`{"a":{"dtype":"F32"`, 0), `tensor "a"`},
		{"unclosed", file(`{`, 0), "not JSON"},
		{"a list", file(`[]`, 0), "begins with ["},
		{"two objects", file(`{}{}`, 0), "goes on"},
		{"no tensor", file(`{"a":7}`, 0), `tensor "a"`},
		{"no shape", file(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), `tensor "a": no shape`},
		{"no offsets", file(`{"a":{"dtype":"F32","shape":[1]}}`, 4), `tensor "a": data_offsets`},
		{"three offsets", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, 4), `tensor "a": data_offsets`},
		{"negative offset", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, 4), `tensor "a"`},
		{"backwards", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4), "[4, 0] run backwards"},
		{"truncated data", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 7), "[0, 8] beyond the 7 bytes"},
		{"hole", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "hole after byte 0"},
		{"overlap", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `tensor "b": data_offsets [4, 8] overlap`},
		{"too much data", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 5), "5 bytes of data, but the tensors end at 4"},
		{"wrong size", file(`{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,4]}}`, 4), "BF16 [3] is 6 bytes, data_offsets [0, 4] hold 4"},
		{"unknown dtype", file(`{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}`, 4), `unknown dtype "F31"`},
		{"negative shape", file(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), "negative dimension"},
		{"overflow", file(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "overflows"},
		{"overflow to zero", file(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, 0), "overflows"},
		{"half a byte", file(`{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,0]}}`, 0), "no whole number of bytes"},
		{"twice", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), `tensor "a" stands twice`},
		{"metadata", file(`{"__metadata__":{"a":1}}`, 0), "__metadata__"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := OpenCheckpoint(mapFS(map[string][]byte{weightsName: c.data}))
			wantError(t, err, "model/model.safetensors", c.want)
		})
	}
}

func write(t testing.TB, tensors ...*Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func u8(name string, data ...byte) *Tensor {
	return &Tensor{Name: name, DType: "U8", Shape: []int{len(data)}, Data: data}
}

func TestWrite(t *testing.T) {
	want := []*Tensor{
		u8("odd", 1, 2, 3),
		{Name: "empty", DType: "F32", Shape: []int{0, 4}, Data: []byte{}},
		{Name: "scalar", DType: "BF16", Shape: []int{}, Data: []byte{0x80, 0x3f}},
		{Name: "<\"é>", DType: "F16", Shape: []int{1, 2}, Data: []byte{0, 0x3c, 0, 0xc0}},
	}
	data := write(t, want...)
	if n := binary.LittleEndian.Uint64(data); n%8 != 0 {
		t.Errorf("header of %d bytes", n)
	}
	c, err := OpenCheckpoint(mapFS(map[string][]byte{weightsName: data}))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		got, err := c.Raw(w.Name)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(*got) != fmt.Sprint(*w) {
			t.Errorf("got %v, want %v", *got, *w)
		}
	}
	if c.Metadata()["format"] != "pt" || c.SHA256() != hashHex(data) {
		t.Errorf("metadata %v, SHA256 %s", c.Metadata(), c.SHA256())
	}
	x, err := c.Tensor("<\"é>")
	if err != nil || !slices.Equal(x.Float32(), []float32{1, -2}) {
		t.Errorf("F16: %v, %v", x, err)
	}
	_, err = c.Tensor("odd")
	wantError(t, err, `tensor "odd": dtype U8`)
	_, err = c.Tensor("none")
	wantError(t, err, `no tensor "none"`)

	wantError(t, Write(&bytes.Buffer{}, []*Tensor{u8("a", 1), u8("a", 2)}, nil), `tensor "a" is written twice`)
	wantError(t, Write(&bytes.Buffer{}, []*Tensor{{Name: "a", DType: "F32", Shape: []int{2}, Data: make([]byte, 4)}}, nil), "is 8 bytes, Data has 4")
}

// TestTensorLoad reads tiles of every type; small integers are exact in all.
func TestTensorLoad(t *testing.T) {
	const n, k = 5, 37
	for _, dtype := range []string{"F32", "BF16", "F16"} {
		x := &Tensor{Name: "w", DType: dtype, Shape: []int{n, k}}
		var want []float32
		for i := range n * k {
			v := float32(i - 90)
			want = append(want, v)
			f32 := math.Float32bits(v)
			switch dtype {
			case "F32":
				x.Data = binary.LittleEndian.AppendUint32(x.Data, f32)
			case "BF16":
				x.Data = binary.LittleEndian.AppendUint16(x.Data, uint16(f32>>16))
			case "F16":
				h := uint16(f32>>16&0x8000) | uint16((f32>>23&255)-112)<<10 | uint16(f32>>13&1023)
				if v == 0 {
					h = 0
				}
				x.Data = binary.LittleEndian.AppendUint16(x.Data, h)
			}
		}
		if got := x.Float32(); !slices.Equal(got, want) {
			t.Errorf("%s: got %v", dtype, got)
		}
		for _, tile := range [][4]int{{0, 0, 5, 37}, {1, 3, 4, 17}, {4, 36, 1, 1}, {2, 5, 0, 3}, {2, 5, 3, 0}} {
			big := gemm.NewMatrix(7, 40)
			for i := range big.Data {
				big.Data[i] = 1e9
			}
			x.Load(big.View(1, 1+tile[2], 1, 1+tile[3]), tile[0], tile[1])
			for i := range big.Rows {
				for j, got := range big.Row(i) {
					w := float32(1e9)
					if a, b := i-1, j-1; a >= 0 && a < tile[2] && b >= 0 && b < tile[3] {
						w = want[(tile[0]+a)*k+tile[1]+b]
					}
					if got != w {
						t.Fatalf("%s tile %v: [%d,%d] is %v, want %v", dtype, tile, i, j, got, w)
					}
				}
			}
		}
	}
}

func TestShards(t *testing.T) {
	index := func(m map[string]string) []byte {
		b, _ := json.Marshal(map[string]any{"weight_map": m})
		return b
	}
	one, two := write(t, u8("a", 1), u8("b", 2)), write(t, u8("c", 3))
	good := map[string]string{"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}
	c, err := OpenCheckpoint(mapFS(map[string][]byte{indexName: index(good), "1.safetensors": one, "2.safetensors": two}))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Names(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("Names() = %v", got)
	}
	if got, want := c.SHA256(), hashHex(slices.Concat(one, two)); got != want {
		t.Errorf("SHA256() = %s, want %s", got, want)
	}
	for _, bad := range []struct {
		name  string
		files map[string][]byte
		want  []string
	}{
		{"nothing", nil, []string{"neither model.safetensors nor"}},
		{"no JSON", map[string][]byte{indexName: []byte("x")}, []string{indexName}},
		{"empty index", map[string][]byte{indexName: []byte("{}")}, []string{"weight_map is empty"}},
		{"shard missing", map[string][]byte{indexName: index(good), "1.safetensors": one}, []string{indexName, "shard 2.safetensors"}},
		{"index lies", map[string][]byte{indexName: index(map[string]string{"a": "1.safetensors", "b": "1.safetensors", "x": "1.safetensors"}), "1.safetensors": one}, []string{`tensor "x"`, "1.safetensors"}},
		{"index forgets", map[string][]byte{indexName: index(map[string]string{"a": "1.safetensors"}), "1.safetensors": one}, []string{`tensor "b" is not in`}},
		{"in two shards", map[string][]byte{indexName: index(map[string]string{"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}), "1.safetensors": one, "2.safetensors": one}, []string{`tensor "a" is in another shard`}},
		{"outside", map[string][]byte{indexName: index(map[string]string{"a": "../1.safetensors"})}, []string{"../1.safetensors"}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			_, err := OpenCheckpoint(mapFS(bad.files))
			wantError(t, err, bad.want...)
		})
	}
	if _, err := OpenCheckpoint(Dir(t.TempDir())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder gives %v", err)
	}
}

func TestDir(t *testing.T) {
	for _, name := range []string{"../x", "/etc/passwd"} {
		_, err := Dir(t.TempDir()).Open(name)
		wantError(t, err, "leaves the folder")
	}
	a, err := OpenCheckpoint(Dir(tinyModel))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(a.Names()); got != 56 {
		t.Errorf("%d tensors, want 56", got)
	}
	if a.Close() != nil || a.Close() != nil {
		t.Error("Close twice")
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(write(f, u8("a", 1, 2), u8("b")))
	f.Add(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, metadata, err := parseSafetensors(data)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := Write(&b, tensors, metadata); err != nil {
			t.Fatal(err)
		}
		again, _, err := parseSafetensors(b.Bytes())
		if err != nil || len(again) != len(tensors) {
			t.Fatalf("read back: %v", err)
		}
		for _, x := range tensors {
			if x.readable() {
				x.Float32()
			}
		}
	})
}

// Released bytes read the same again, and so does what lies beside them.
func TestRelease(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 3<<20+123)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	var file bytes.Buffer
	if err := Write(&file, []*Tensor{u8("a", data[:1000]...), u8("b", data...), u8("c", data[5:600]...)}, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, weightsName)
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCheckpoint(Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Stamp() != "" {
		t.Errorf("a file written just now has the stamp %q", c.Stamp())
	}
	want := hashHex(file.Bytes())
	for range 2 {
		if c.SHA256() != want {
			t.Fatal("SHA256 differs after a release")
		}
		b, _ := c.Raw("b")
		b.Release()
		a, _ := c.Raw("a")
		if !bytes.Equal(a.Data, data[:1000]) || !bytes.Equal(b.Data, data) {
			t.Fatal("bytes differ after a release")
		}
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	stamps := map[string]bool{}
	for range 2 {
		c, err := OpenCheckpoint(Dir(dir))
		if err != nil {
			t.Fatal(err)
		}
		stamps[c.Stamp()] = true
		c.Close()
		if err := os.Chtimes(path, old, old.Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	if len(stamps) != 2 || stamps[""] {
		t.Errorf("stamps of two versions: %v", stamps)
	}
}

package gguf

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func typesFile(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/types.gguf")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTypes compares every type bit by bit with the Python package gguf, see
// scripts/golden/gguf_types.py, and ranges of elements with whole tensors.
func TestTypes(t *testing.T) {
	f, err := Parse(typesFile(t))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Tensors map[string]struct {
			Shape  []int
			SHA256 string
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(f.Tensors) != len(typeByID) || len(golden.Tensors) != len(typeByID) {
		t.Fatalf("%d tensors and %d goldens of %d types", len(f.Tensors), len(golden.Tensors), len(typeByID))
	}
	for _, x := range f.Tensors {
		want := golden.Tensors[x.Name]
		if x.Type.Name != x.Name || TypeByName(x.Name) != x.Type || !slices.Equal(x.Shape, want.Shape) {
			t.Fatalf("%s: type %s, shape %v, want %v", x.Name, x.Type.Name, x.Shape, want.Shape)
		}
		n := x.Shape[0] * x.Shape[1]
		whole := make([]float32, n)
		x.Type.Decode(whole, x.Data, 0)
		bytes := make([]byte, 0, 4*n)
		for _, v := range whole {
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(v))
		}
		if sum := sha256.Sum256(bytes); hex.EncodeToString(sum[:]) != want.SHA256 {
			t.Errorf("%s: dequantizes otherwise than the Python package", x.Name)
		}
		for _, r := range [][2]int{{0, 1}, {1, 30}, {31, 2}, {33, 95}, {n - 1, 1}, {n, 0}, {5, n - 7}} {
			part := make([]float32, r[1])
			x.Type.Decode(part, x.Data, r[0])
			if !slices.Equal(part, whole[r[0]:r[0]+r[1]]) {
				t.Errorf("%s: elements %d to %d differ from those of the whole", x.Name, r[0], r[0]+r[1])
			}
		}
	}
	if TypeByName("Q9") != nil {
		t.Error("there is a type Q9")
	}
}

func TestHalf(t *testing.T) {
	for _, c := range []struct {
		bits uint16
		want float32
	}{{0, 0}, {0x8000, float32(math.Copysign(0, -1))}, {1, 0x1p-24}, {0x83ff, -1023 * 0x1p-24}, {0x0400, 0x1p-14},
		{0x3c00, 1}, {0xfbff, -65504}, {0x7c00, float32(math.Inf(1))}, {0xfc00, float32(math.Inf(-1))}} {
		if got := f16([]byte{byte(c.bits), byte(c.bits >> 8)}); math.Float32bits(got) != math.Float32bits(c.want) {
			t.Errorf("f16(%#x) = %v, want %v", c.bits, got, c.want)
		}
	}
	if got := f16([]byte{1, 0x7c}); got == got {
		t.Errorf("half of a NaN is %v", got)
	}
}

func TestMetadata(t *testing.T) {
	f, err := Parse(typesFile(t))
	if err != nil {
		t.Fatal(err)
	}
	get := func(key string) Value {
		v, ok := f.Value(key)
		if !ok {
			t.Fatalf("%s is missing from %v", key, f.Keys())
		}
		return v
	}
	if n, err := get("test.uint32").Uint(); n != 7 || err != nil {
		t.Errorf("uint32: %d, %v", n, err)
	}
	if x, err := get("test.float32").Float(); float32(x) != 1e-5 || err != nil {
		t.Errorf("float32: %v, %v", x, err)
	}
	if x, err := get("test.float64").Float(); x != 0.1 || err != nil {
		t.Errorf("float64: %v, %v", x, err)
	}
	if b, err := get("test.bool").Bool(); !b || err != nil {
		t.Errorf("bool: %v, %v", b, err)
	}
	if s, err := get("test.string").Text(); s != "naïve" || err != nil {
		t.Errorf("string: %q, %v", s, err)
	}
	if list, err := get("test.ints").Ints(); !slices.Equal(list, []int64{1, -2, 3}) || err != nil {
		t.Errorf("ints: %v, %v", list, err)
	}
	if list, err := get("test.floats").Floats(); !slices.Equal(list, []float32{0.5, -1.5}) || err != nil {
		t.Errorf("floats: %v, %v", list, err)
	}
	texts, err := get("test.strings").Texts()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for i, s := range texts {
		if i != len(list) {
			t.Errorf("index %d of %q", i, s)
		}
		list = append(list, s)
	}
	if !slices.Equal(list, []string{"", "a", "Ġb"}) {
		t.Errorf("strings: %q", list)
	}
	for _, c := range []struct {
		err  func() error
		want string
	}{
		{func() error { _, err := get("test.int8").Uint(); return err }, "-3 is negative"},
		{func() error { _, err := get("test.string").Uint(); return err }, "kind string, not uint32"},
		{func() error { _, err := get("test.string").Float(); return err }, "kind string, not float32"},
		{func() error { _, err := get("test.string").Bool(); return err }, "kind string, not bool"},
		{func() error { _, err := get("test.bool").Text(); return err }, "kind bool, not string"},
		{func() error { _, err := get("test.ints").Texts(); return err }, "array of int32, not an array of strings"},
		{func() error { _, err := get("test.strings").Ints(); return err }, "array of string, not an array of int32"},
		{func() error { _, err := get("test.bool").Floats(); return err }, "kind bool, not an array of float32"},
	} {
		if err := c.err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// builder writes files that the Python package would not.
type builder struct{ b []byte }

func (w *builder) u32(v uint32) *builder {
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
	return w
}

func (w *builder) u64(v ...uint64) *builder {
	for _, x := range v {
		w.b = binary.LittleEndian.AppendUint64(w.b, x)
	}
	return w
}

func (w *builder) str(s string) *builder {
	w.u64(uint64(len(s)))
	w.b = append(w.b, s...)
	return w
}

// header begins a file of version 3.
func header(tensors, pairs uint64) *builder {
	w := &builder{b: []byte(magic)}
	return w.u32(3).u64(tensors, pairs)
}

// tensor appends the entry of a tensor.
func (w *builder) tensor(name string, kind uint32, offset uint64, dims ...uint64) *builder {
	return w.str(name).u32(uint32(len(dims))).u64(dims...).u32(kind).u64(offset)
}

// file appends the data section, aligned to 32.
func (w *builder) file(size int) []byte {
	for len(w.b)%32 != 0 {
		w.b = append(w.b, 0)
	}
	return append(w.b, make([]byte, size)...)
}

func TestHostile(t *testing.T) {
	const huge = 1 << 63
	pad := make([]byte, 64)
	whole := typesFile(t)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "truncated: 0 bytes"},
		{"magic", append([]byte("GGML"), pad...), `begins with "GGML"`},
		{"version 1", append([]byte("GGUF\x01\x00\x00\x00"), pad...), "version 1 is not 2 or 3"},
		{"version 4", append([]byte("GGUF\x04\x00\x00\x00"), pad...), "version 4 is not 2 or 3"},
		{"big-endian", append([]byte("GGUF\x00\x00\x00\x03"), pad...), "big-endian"},
		{"pairs", header(0, huge).file(64), "metadata pairs and 0 tensors do not fit"},
		{"tensors", header(huge, 0).file(64), "tensors do not fit"},
		{"key length", header(0, 1).u64(huge).file(64), "a name of 9223372036854775808 bytes"},
		{"key beyond", header(0, 1).u64(1000).file(32), "truncated: 1000 bytes wanted"},
		{"string length", header(0, 1).str("k").u32(8).u64(huge).file(64), `"k": truncated: 9223372036854775808 bytes`},
		{"string wraps", header(0, 1).str("k").u32(8).u64(math.MaxUint64 - 7).file(64), `"k": truncated`},
		{"kind", header(0, 1).str("k").u32(13).file(64), `"k": kind 13 is unknown`},
		{"array kind", header(0, 1).str("k").u32(9).u32(99).u64(1).file(64), `"k": kind 99 is unknown`},
		{"nested arrays", header(0, 1).str("k").u32(9).u32(9).u64(1).u32(9).u64(1).file(64), "array of arrays"},
		{"array length", header(0, 1).str("k").u32(9).u32(4).u64(huge).file(64), `"k": truncated: an array of 9223372036854775808`},
		{"array wraps", header(0, 1).str("k").u32(9).u32(10).u64(1<<61 + 1).file(64), `"k": truncated`},
		{"string array", header(0, 1).str("k").u32(9).u32(8).u64(huge).file(64), `"k": truncated`},
		{"key twice", header(0, 2).str("k").u32(4).u32(1).str("k").u32(4).u32(1).file(64), `"k" stands twice`},
		{"alignment", header(0, 1).str("general.alignment").u32(4).u32(48).file(64), "general.alignment 48 is no power of two"},
		{"alignment 0", header(0, 1).str("general.alignment").u32(4).u32(0).file(64), "general.alignment 0"},
		{"alignment kind", header(0, 1).str("general.alignment").u32(8).str("32").file(64), "general.alignment: is of kind string"},
		{"no dimensions", header(1, 0).tensor("a", 0, 0).file(64), `"a": 0 dimensions`},
		{"dimensions", header(1, 0).tensor("a", 0, 0, 1, 1, 1, 1, 1).file(64), `"a": 5 dimensions`},
		{"dimension 0", header(1, 0).tensor("a", 0, 0, 4, 0).file(64), `"a": dimension 0`},
		{"dimension", header(1, 0).tensor("a", 0, 0, huge).file(64), `"a": dimension 9223372036854775808`},
		{"product", header(1, 0).tensor("a", 0, 0, 1<<32, 1<<32).file(64), `"a": dimension 4294967296`},
		{"type", header(1, 0).tensor("a", 99, 0, 4).file(64), `"a": type 99 is unknown`},
		{"other type", header(1, 0).tensor("a", 16, 0, 256).file(64), `"a": type IQ2_XXS is not supported`},
		{"block", header(1, 0).tensor("a", 3, 0, 33).file(64), `"a": rows of 33 are no whole number of Q4_1 blocks of 32`},
		{"offset", header(1, 0).tensor("a", 0, 4, 4).file(64), `"a": offset 4 is no multiple`},
		{"offset beyond", header(1, 0).tensor("a", 0, 96, 4).file(64), `"a": bytes 96 to 112 are beyond the 64`},
		{"offset wraps", header(1, 0).tensor("a", 0, math.MaxUint64-31, 16).file(64), `"a": offset 18446744073709551584`},
		{"no data", header(1, 0).tensor("a", 0, 0, 4).b, `"a": bytes 0 to 16 are beyond the 0`},
		{"overlap", header(2, 0).tensor("a", 0, 0, 16).tensor("b", 0, 32, 4).file(96), `"b": offset 32 overlaps tensor "a"`},
		{"same place", header(2, 0).tensor("a", 0, 0, 4).tensor("b", 0, 0, 4).file(96), "overlaps"},
		{"tensor twice", header(2, 0).tensor("a", 0, 0, 4).tensor("a", 0, 32, 4).file(96), `"a" stands twice`},
		{"cut in the data", whole[:len(whole)-1], "beyond"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	for n := range len(whole) {
		if _, err := Parse(whole[:n:n]); err == nil && n < len(whole) {
			t.Fatalf("the first %d bytes of %d are accepted", n, len(whole))
		}
	}
	if f, err := Parse(header(1, 0).tensor("a", 0, 0, 4).file(16)); err != nil || len(f.Tensors[0].Data) != 16 {
		t.Errorf("a good file: %v", err)
	}
}

// TestBounded parses a header that claims all the strings that fit: what it costs
// is bounded by the file.
func TestBounded(t *testing.T) {
	w := header(0, 1).str("k").u32(9).u32(8).u64(1 << 20)
	data := w.file(8 << 20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Parse(data); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("parsing %d bytes allocated %d", len(data), got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(typesFile(f))
	f.Add(header(1, 1).str("k").u32(9).u32(8).u64(2).str("a").str("b").tensor("a", 3, 0, 32, 2).file(64))
	f.Add(header(2, 1).str("general.alignment").u32(4).u32(8).tensor("a", 0, 8, 1).tensor("b", 12, 16, 256).file(512))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		for _, key := range file.Keys() {
			v, ok := file.Value(key)
			if !ok {
				t.Fatalf("%q has no value", key)
			}
			v.Uint()
			v.Float()
			v.Bool()
			v.Text()
			v.Ints()
			v.Floats()
			if texts, err := v.Texts(); err == nil {
				n := 0
				for range texts {
					n++
				}
				if n != v.Len {
					t.Fatalf("%q: %d strings of %d", key, n, v.Len)
				}
			}
		}
		total := 0
		for _, x := range file.Tensors {
			n := 1
			for _, d := range x.Shape {
				n *= d
			}
			total += len(x.Data)
			x.Type.Decode(make([]float32, n), x.Data, 0)
		}
		if total > len(data) {
			t.Fatalf("tensors of %d bytes in a file of %d", total, len(data))
		}
	})
}

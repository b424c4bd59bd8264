package method

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/baseline"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// Settings are a method with values for its keys. They are comparable, and they
// are their own identity: a JSON object of the method's name, its base if it has
// one, and its other keys in the method's order. A key at the zero value of its
// type is not written, so a new key whose zero value changes nothing leaves the
// identity of old settings alone.
type Settings struct{ text string }

// New returns settings of the method of that name with the given keys and
// values, by turns; it panics where there are no such.
func New(name string, keysAndValues ...any) Settings {
	s := Settings{}.With("method", name)
	for i := 0; i < len(keysAndValues); i += 2 {
		s = s.With(keysAndValues[i].(string), keysAndValues[i+1])
	}
	return s
}

// decoded remembers what values has decoded, by the text of the settings: a large
// sweep asks for the same values over and over.
var decoded sync.Map

// values decodes s. The result is shared and must not be changed.
func (s Settings) values() map[string]json.RawMessage {
	if v, ok := decoded.Load(s.text); ok {
		return v.(map[string]json.RawMessage)
	}
	v := map[string]json.RawMessage{}
	if s.text != "" {
		if err := json.Unmarshal([]byte(s.text), &v); err != nil {
			panic("method: " + err.Error()) // With wrote it
		}
	}
	decoded.Store(s.text, v)
	return v
}

// With returns s with another value of a key; the key "method" names the method.
func (s Settings) With(key string, value any) Settings {
	v := maps.Clone(s.values())
	if key == "method" {
		key = "name"
	}
	data, err := json.Marshal(value)
	if err != nil {
		panic("method: " + err.Error())
	}
	v[key] = data
	name, ok := value.(string)
	if key != "name" {
		name, ok = s.Name(), true
	}
	m := Find(name)
	if !ok || m == nil || key != "name" && m.Key(key) == nil {
		panic(fmt.Sprintf("method: %q has no setting %q", name, key))
	}
	return write(m, v)
}

// write joins the values v of the method m to settings.
func write(m *Method, v map[string]json.RawMessage) Settings {
	var b strings.Builder
	b.WriteString(`{"name":` + string(v["name"]))
	write := func(k *Key) {
		switch d := string(v[k.Name]); d {
		case "", `""`, "0", "false":
		default:
			b.WriteString(`,"` + k.Name + `":` + d)
		}
	}
	if k := m.Key("base"); k != nil {
		write(k)
	}
	for _, k := range m.Keys {
		if k.Name != "base" {
			write(k)
		}
	}
	for _, name := range []string{ignoreKey, layersKey} {
		if d := v[name]; d != nil {
			b.WriteString(`,"` + name + `":` + string(d))
		}
	}
	b.WriteString("}")
	return Settings{b.String()}
}

// MarshalJSON implements json.Marshaler.
func (s Settings) MarshalJSON() ([]byte, error) {
	if s.text == "" {
		return []byte(`{"name":""}`), nil
	}
	return []byte(s.text), nil
}

// UnmarshalJSON implements json.Unmarshaler. It reports methods and keys that do
// not exist, and values of another type.
func (s *Settings) UnmarshalJSON(data []byte) error {
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return err
	}
	name, ok := v["name"].(string)
	m := Find(name)
	if !ok || m == nil {
		return fmt.Errorf("unknown method %v", v["name"])
	}
	out := New(name)
	for key, value := range v {
		if key == "name" || key == ignoreKey || key == layersKey {
			continue
		}
		k := m.Key(key)
		if k == nil {
			return fmt.Errorf("method %s has no setting %q", name, key)
		}
		parsed, err := k.Kind.Decode(value)
		if err != nil {
			return fmt.Errorf("method %s: %s: %w", name, key, err)
		}
		out = out.With(key, parsed)
	}
	var by struct {
		Ignore []string
		Layers json.RawMessage
	}
	if err := json.Unmarshal(data, &by); err != nil {
		return err
	}
	var overrides []Override
	if by.Layers != nil {
		var err error
		if overrides, err = decodeOverrides(m, by.Layers); err != nil {
			return err
		}
	}
	*s = out.WithLayers(by.Ignore, overrides)
	return nil
}

// get decodes the value of a key into v, and leaves v alone where there is none.
func (s Settings) get(key string, v any) {
	data, ok := s.values()[key]
	if !ok {
		return
	}
	if err := json.Unmarshal(data, v); err != nil {
		panic(fmt.Sprintf("method: setting %s of %s: %v", key, s.text, err))
	}
}

// Name returns the name of the method.
func (s Settings) Name() (v string) { s.get("name", &v); return v }

// Method returns the method; nil if there is none.
func (s Settings) Method() *Method { return Find(s.Name()) }

// String is the identity of s.
func (s Settings) String() string { return s.text }

// The values of keys. A key that the method lacks, or that is not set, has the
// zero value of its type.

// Word returns the value of a key with a string.
func (s Settings) Word(key string) (v string) { s.get(key, &v); return v }

// Int returns the value of a key with a whole number.
func (s Settings) Int(key string) (v int) { s.get(key, &v); return v }

// Float returns the value of a key with a share or number.
func (s Settings) Float(key string) (v float64) { s.get(key, &v); return v }

// Bool returns the value of a key with true or false.
func (s Settings) Bool(key string) (v bool) { s.get(key, &v); return v }

// Block returns the value of a key with the shape of a block.
func (s Settings) Block(key string) (v kinds.Block) { s.get(key, &v); return v }

// Value returns the value of k in s, in the type of its kind.
func (s Settings) Value(k *Key) any {
	switch k.Kind.Zero.(type) {
	case int:
		return s.Int(k.Name)
	case float64:
		return s.Float(k.Name)
	case bool:
		return s.Bool(k.Name)
	case kinds.Block:
		return s.Block(k.Name)
	}
	return s.Word(k.Name)
}

// Smooths reports whether channels are scaled before the method runs.
func (s Settings) Smooths() bool { return s.Float("smoothing") > 0 || s.Word("smoothing_search") != "" }

// format returns the format of the dense base.
func (s Settings) format() (quant.Format, error) {
	return quant.ParseFormat(s.Word("format"), s.Int("group"))
}

// scale returns the rule that finds its scales.
func (s Settings) scale() grid.Scale {
	scale := grid.Scale{Rule: grid.ScaleRule(s.Word("scale")), Restarts: s.Int("restarts")}
	if scale.Rule == grid.SearchMSE {
		scale.Norm = 2
	}
	return scale
}

// rtn returns round to nearest with the settings of the base.
func (s Settings) rtn() (solve.RTN, error) {
	f, err := s.format()
	return solve.RTN{Format: f, Scale: s.scale()}, err
}

// gptq returns GPTQ with the settings of the base, without refinement.
func (s Settings) gptq() (solve.GPTQ, error) {
	f, err := s.format()
	return solve.GPTQ{Format: f, Scale: s.scale(), Damping: s.Float("damp"), ActOrder: s.Word("order") == "act",
		DynamicGroups: s.Word("groups") == "dynamic"}, err
}

// base returns the base that the key of that name chooses.
func (s Settings) base() (solve.Dense, error) {
	if s.Word("base") == "gptq" {
		return s.gptq()
	}
	return s.rtn()
}

// Checkpoint returns the path of the checkpoint whose weights s takes; empty where s
// computes its own.
func (s Settings) Checkpoint() string {
	if m := s.Method(); m != nil && m.Reads != "" {
		return s.Word(m.Reads)
	}
	return ""
}

// Quantizer returns the method with the settings s, nil for 16-bit weights and for
// those of a checkpoint.
func (s Settings) Quantizer() (quant.Quantizer, error) {
	m := s.Method()
	if m == nil {
		return nil, fmt.Errorf("unknown method %q", s.Name())
	}
	if m.Build == nil {
		return nil, nil
	}
	q, err := m.Build(s)
	if err != nil || !s.Bool("awq") {
		return q, err
	}
	f, err := s.format()
	return baseline.AWQ{Method: q, Format: f}, err
}

// Form returns the form of the layers that s quantizes; nil for 16-bit weights and for
// those of a checkpoint, which must be read first. It decides before anything is
// quantized whether a kernel can execute them. Numbers that depend on the layer are 0.
// Parts that depend on the data count as present: a layer has no scales if AWQ's search
// finds none better than ones, and no columns if LLM.int8() finds no outlier.
func (s Settings) Form() (*quant.Form, error) {
	m := s.Method()
	if m == nil {
		return nil, fmt.Errorf("unknown method %q", s.Name())
	}
	if m.Build == nil {
		return nil, nil
	}
	formatOf := Settings.format
	if m.Format != nil {
		formatOf = m.Format
	}
	base, err := formatOf(s)
	if err != nil {
		return nil, err
	}
	f := &quant.Form{Base: base, ChannelScales: s.Bool("awq")}
	if m.Parts != nil {
		m.Parts(s, f)
	}
	return f, nil
}

// Cost returns what s takes beside rounding to nearest, shared keys included.
func (s Settings) Cost() Cost {
	var c Cost
	m := s.Method()
	if m == nil {
		return c
	}
	if m.Cost != nil {
		c = m.Cost(s)
	}
	if c.Loop {
		c.Squares += 8 // the factor of H
	}
	if s.Bool("awq") {
		c.Searches += 20
		c.Copies = max(c.Copies, 8)
	}
	if c.Refine > 0 || s.Word("scale") == "clip" {
		c.Squares += 4 // H in float32
	}
	c.Tries += s.scaleTries()
	if twoLevels(s.kind()) {
		c.Refine *= slowRound
	}
	if s.Smooths() {
		c.Squares = max(c.Squares, 8) // H before and after
	}
	return c
}

// slowRound is how much longer a round of refinement takes with two codes for each
// weight, or with two levels of scales.
const slowRound = 1.6

// scaleTries is how often the search for scales rounds each weight.
func (s Settings) scaleTries() float64 {
	f := s.kind()
	if grid.RowLevels(f) {
		return 55 * float64(1+s.Int("restarts")) // its table is learned by k-means
	}
	if grid.Fixed(f) {
		return 20 // turns of HQQ's solver, each a rounding of all
	}
	levels := 1.0
	if f.Kind.Levels() != nil {
		levels = 1.9 // what is no whole number takes longer
	}
	switch s.Word("scale") {
	case "mse", "hessian":
		if grid.Own(f) == grid.Ceil { // powers of two: the search begins below the range
			return 180 * levels
		}
		return 80 * levels
	case "clip":
		return 10 + 1.7*float64(s.Int("group")) // a product with H of the group
	case "foursix":
		return 2 * levels
	}
	return 0
}

package method

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Override is what an entry of layers says: other values of keys for the layers that
// its pattern matches.
type Override struct {
	Match  string
	Values map[string]any // by key, in the type of its kind
}

// WithLayers returns s with settings by layer: layers that a pattern of ignore matches
// stay in 16 bits; others have the values of each override that matches them, later
// ones before earlier ones. Two empty lists leave no trace in the identity.
func (s Settings) WithLayers(ignore []string, layers []Override) Settings {
	v := maps.Clone(s.values())
	delete(v, ignoreKey)
	delete(v, layersKey)
	if len(ignore) > 0 {
		v[ignoreKey] = marshal(ignore)
	}
	if len(layers) > 0 {
		var list []json.RawMessage
		for _, o := range layers {
			list = append(list, o.encode(s.Method()))
		}
		v[layersKey] = marshal(list)
	}
	return write(s.Method(), v)
}

// The names of settings by layer, in sweep files and in identities.
const (
	ignoreKey = "ignore"
	layersKey = "layers"
)

func marshal(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic("method: " + err.Error())
	}
	return data
}

// encode writes o with its keys in the order of m.
func (o *Override) encode(m *Method) json.RawMessage {
	var b bytes.Buffer
	b.WriteString(`{"match":`)
	b.Write(marshal(o.Match))
	for _, k := range m.Keys {
		if value, ok := o.Values[k.Name]; ok {
			fmt.Fprintf(&b, ",%q:%s", k.Name, marshal(value))
		}
	}
	b.WriteString("}")
	return b.Bytes()
}

// ByLayer reports whether layers have settings of their own.
func (s Settings) ByLayer() bool { return s.values()[ignoreKey] != nil || s.values()[layersKey] != nil }

// Ignore returns the patterns of layers that stay in 16 bits.
func (s Settings) Ignore() (list []string) { s.get(ignoreKey, &list); return list }

// Overrides returns the settings of layers of their own, in order.
func (s Settings) Overrides() []Override {
	data, ok := s.values()[layersKey]
	if !ok {
		return nil
	}
	list, err := decodeOverrides(s.Method(), data)
	if err != nil {
		panic("method: " + err.Error()) // WithLayers wrote it, or UnmarshalJSON has checked it
	}
	return list
}

func decodeOverrides(m *Method, data []byte) ([]Override, error) {
	var raw []map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	var list []Override
	for _, r := range raw {
		match, ok := r["match"].(string)
		if !ok {
			return nil, fmt.Errorf("method %s: layers: match is no string", m.Name)
		}
		o := Override{Match: match, Values: map[string]any{}}
		for name, value := range r {
			if name == "match" {
				continue
			}
			k := m.Key(name)
			if k == nil {
				return nil, fmt.Errorf("method %s has no setting %q", m.Name, name)
			}
			v, err := k.Kind.Decode(value)
			if err != nil {
				return nil, fmt.Errorf("method %s: layers: %s: %w", m.Name, name, err)
			}
			o.Values[name] = v
		}
		list = append(list, o)
	}
	return list, nil
}

// Plain returns s without settings by layer.
func (s Settings) Plain() Settings {
	if !s.ByLayer() {
		return s
	}
	return s.WithLayers(nil, nil)
}

// At returns the settings of the linear layer of that name, such as
// "model.layers.0.mlp.down_proj", in a model of layers decoder layers.
func (s Settings) At(layer string, layers int) Settings {
	if !s.ByLayer() {
		return s
	}
	for _, pattern := range s.Ignore() {
		if Matches(pattern, layer, layers) {
			return New(none.Name)
		}
	}
	out := s.Plain()
	for _, o := range s.Overrides() {
		if Matches(o.Match, layer, layers) {
			out = out.Override(o)
		}
	}
	return out
}

// Variants returns the settings that layers may have: those of s, and with each of the
// overrides, without those by layer.
func (s Settings) Variants() []Settings {
	list := []Settings{s.Plain()}
	for _, o := range s.Overrides() {
		if v := list[0].Override(o); !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// Override returns s with the values of o. Keys that apply only beside these have their
// defaults, and keys that do not apply beside these are dropped.
func (s Settings) Override(o Override) Settings {
	m := s.Method()
	out := New(m.Name)
	for _, k := range m.Keys {
		value, given := o.Values[k.Name]
		switch {
		case k.Applies != nil && !k.Applies(out):
		case given:
			out = out.With(k.Name, value)
		case k.Applies == nil || k.Applies(s):
			out = out.With(k.Name, s.Value(k))
		case k.Default != nil:
			out = out.With(k.Name, k.Default(out))
		}
	}
	return out
}

// CheckPattern reports what is wrong with a pattern of layer names.
func CheckPattern(pattern string) error {
	if pattern == "" {
		return fmt.Errorf("is an empty pattern")
	}
	if text, ok := strings.CutPrefix(pattern, "re:"); ok {
		if _, err := regexp.Compile(text); err != nil {
			return fmt.Errorf("%q is no regular expression: %w", pattern, err)
		}
	}
	return nil
}

// Matches reports whether the pattern matches the linear layer of that name in a model
// of layers decoder layers. A pattern is a name, with or without "model.", in which *
// stands for any text; one that ends in a dot stands for all below it. first and last,
// alone or in place of the index in "layers.first.", are decoder layers. What begins
// with "re:" is a regular expression for the begin of the name.
func Matches(pattern, name string, layers int) bool {
	if text, ok := strings.CutPrefix(pattern, "re:"); ok {
		at := regexp.MustCompile(text).FindStringIndex(name)
		return at != nil && at[0] == 0
	}
	if pattern == "first" || pattern == "last" {
		pattern = "layers." + pattern + "."
	}
	pattern = strings.Replace(pattern, "layers.first.", "layers.0.", 1)
	pattern = strings.Replace(pattern, "layers.last.", "layers."+strconv.Itoa(layers-1)+".", 1)
	if strings.HasSuffix(pattern, ".") {
		pattern += "*"
	}
	short := strings.TrimPrefix(name, "model.")
	return glob(pattern, name) || glob(pattern, short)
}

// glob reports whether the pattern, in which * is any text, is the whole text.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// LayerLabel is how settings by layer appear in labels: "o_proj:16-bit down_proj:g32".
func (s Settings) LayerLabel() string {
	short := func(pattern string) string { return strings.TrimSuffix(strings.TrimPrefix(pattern, "*."), ".") }
	var words []string
	for _, o := range s.Overrides() {
		var values []string
		for _, k := range s.Method().Keys {
			if v, ok := o.Values[k.Name]; ok {
				values = append(values, k.Label(v))
			}
		}
		words = append(words, short(o.Match)+":"+strings.Join(values, ","))
	}
	for _, pattern := range s.Ignore() {
		words = append(words, short(pattern)+":16-bit")
	}
	return strings.Join(words, " ")
}

// LayerText is the settings of layers of their own as flat text for axes: "*.down_proj
// group=32; first format=int8".
func (s Settings) LayerText() string {
	var list []string
	for _, o := range s.Overrides() {
		text := o.Match
		for _, k := range s.Method().Keys {
			if v, ok := o.Values[k.Name]; ok {
				text += " " + k.Name + "=" + k.Kind.Write(v)
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

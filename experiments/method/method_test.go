package method

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/grid"
	"github.com/mosaicquant/mosaicquant/quant/solve"
)

// TestComplete demands of every method and key all that the harness asks for.
func TestComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range All {
		if m.Name == "" || m.Summary == "" || seen[m.Name] {
			t.Errorf("method %q: no name or summary, or there twice", m.Name)
		}
		seen[m.Name] = true
		if m.Build != nil && m.Format == nil && (m.Key("format") == nil || m.Key("group") == nil || m.Key("scale") == nil || len(m.Rules) < len(baseRules)) {
			t.Errorf("%s has no dense base: it needs keys format, group, scale and their rules, or a format of its own", m.Name)
		}
		names := map[string]bool{}
		for _, k := range m.Keys {
			switch {
			case names[k.Name]:
				t.Errorf("%s.%s is there twice", m.Name, k.Name)
			case k.Means == "" || k.Kind.Form == "" || k.Label == nil || k.Kind.Zero == nil:
				t.Errorf("%s.%s lacks a meaning, values or a label", m.Name, k.Name)
			case k.Quiet && k.Default == nil:
				t.Errorf("%s.%s is quiet and has no default", m.Name, k.Name)
			case (k.Applies != nil || k.ForInputs) != (k.Needs != ""):
				t.Errorf("%s.%s: a condition without words, or words without one", m.Name, k.Name)
			case k.Instead != "" && m.Key(k.Instead) == nil:
				t.Errorf("%s.%s may be left out for %s, which there is not", m.Name, k.Name, k.Instead)
			}
			names[k.Name] = true
			for _, o := range All {
				if x := o.Key(k.Name); x != nil && (reflect.TypeOf(x.Kind.Zero) != reflect.TypeOf(k.Kind.Zero) || x.Kind.Form != k.Kind.Form || x.Means != k.Means) {
					t.Errorf("key %s means one thing in %s and another in %s", k.Name, m.Name, o.Name)
				}
			}
		}
		for _, r := range m.Rules {
			if m.Key(r.Key) == nil && !slices.ContainsFunc(baseRules, func(b Rule) bool { return b.Key == r.Key }) || r.Says == "" {
				t.Errorf("%s: a rule blames %q, which there is not, or says nothing", m.Name, r.Key)
			}
		}
	}
}

// TestOrder: all keys have one order that agrees with that of every method.
func TestOrder(t *testing.T) {
	order := KeyNames()
	for _, m := range All {
		last := -1
		for _, k := range m.Keys {
			if i := slices.Index(order, k.Name); i < last {
				t.Errorf("%s.%s stands before its place in %v", m.Name, k.Name, order)
			} else {
				last = i
			}
		}
	}
}

func TestSettings(t *testing.T) {
	s := New("mosaic", "density", .1, "block", kinds.Block{Cols: 8}, "base", "gptq", "joint", true, "group", 0)
	const want = `{"name":"mosaic","base":"gptq","density":0.1,"block":"Nx8","joint":true}`
	if s.String() != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if s.Float("density") != .1 || s.Block("block") != (kinds.Block{Cols: 8}) || !s.Bool("joint") || s.Word("base") != "gptq" || s.Int("rank") != 0 {
		t.Errorf("%s reads back otherwise", s)
	}
	if again := s.With("joint", false).With("joint", true); again != s {
		t.Errorf("%s is not %s", again, s)
	}
	var back Settings
	if err := json.Unmarshal([]byte(want), &back); err != nil || back != s {
		t.Errorf("%s, %v", back, err)
	}
	for _, bad := range []string{`{"name":"nope"}`, `{"name":"rtn","density":0.1}`, `{"name":"rtn","group":"x"}`, `{"name":"rtn","group":1.5}`,
		`{"name":"gptq","damp":-1}`, `{"name":"mosaic","block":"0x0"}`, `{"name":3}`, `{}`, `{"name":"rtn","format":"int9"}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// dummy is a method as a newcomer would write it: all there is of it is here.
var dummy = &Method{
	Name:    "dummy",
	Summary: "Rounds to nearest with another default and a key of its own",
	Keys: []*Key{format("int3"), group(64), scale,
		{Name: "wobble", Kind: kinds.Integer(0, 9), Default: always(2), Means: "Nothing", Label: kinds.Prefix("wobble", nil), Quiet: true}},
	Rules: baseRules,
	Build: func(s Settings) (quant.Quantizer, error) { return s.rtn() },
}

// WithDummy registers the dummy for a test.
func WithDummy(t *testing.T) {
	all := All
	All = append(slices.Clone(all), dummy)
	t.Cleanup(func() { All = all })
}

func TestDummy(t *testing.T) {
	WithDummy(t)
	TestComplete(t)
	TestOrder(t)
	s := New("dummy", "format", "int3", "group", 64, "scale", "absmax", "wobble", 3)
	if s.String() != `{"name":"dummy","format":"int3","group":64,"scale":"absmax","wobble":3}` {
		t.Error(s)
	}
	q, err := s.Quantizer()
	if err != nil || !reflect.DeepEqual(q, solve.RTN{Format: quant.Format{Bits: 3, Group: 64}, Scale: grid.Scale{Rule: grid.AbsMax}}) {
		t.Errorf("%#v, %v", q, err)
	}
	if f, err := s.Form(); err != nil || f.Base.Bits != 3 {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestLooks: each method and variant has a colour and a marker, and no two have both
// in common.
func TestLooks(t *testing.T) {
	color := regexp.MustCompile(`^#[0-9a-f]{6}$`)
	seen := map[Look]string{}
	check := func(family string, l Look) {
		l.Last = false
		if !color.MatchString(l.Color) || l.Marker == "" {
			t.Errorf("%s: look %+v: a colour is #rrggbb, and there is a marker", family, l)
		}
		if other, ok := seen[l]; ok {
			t.Errorf("%s looks as %s does", family, other)
		}
		seen[l] = family
	}
	for _, m := range All {
		check(m.Name, m.Look)
		for _, v := range m.Variants {
			if !strings.HasPrefix(v.Family, m.Name+" ") {
				t.Errorf("%s: variant %q", m.Name, v.Family)
			}
			check(v.Family, v.Look)
		}
	}
}

package plan

import (
	"gopkg.in/yaml.v3"

	"github.com/mosaicquant/mosaicquant/experiments/kinds"
)

// speedKeys are the settings of a sweep's speed section. Lists are not swept:
// every trial has the times of all.
var speedKeys = append([]*key{
	{name: "shapes", kind: shapes, means: shapesMean},
	{name: "tokens", kind: kinds.Integer(1, 1<<16), fallback: always(1), means: tokensMean},
	{name: "engine", kind: kinds.Word("auto", "cpu", "cuda"), fallback: always("auto"), means: engineMeans},
}, timingKeys(15)[:2]...)

// speed reads the section.
func (p *parser) speed(n *yaml.Node) *entry {
	before := len(p.errs)
	e := p.benchEntry(n, p.mapping(n, "speed", names(speedKeys)), "speed", speedKeys, &yaml.Node{})
	for _, name := range []string{"engine", "repeats", "cache"} {
		if s := e.setting(name); s != nil && len(s.values) > 1 {
			p.errorf(s.line, s.path, "is a list; it is one for all trials")
		}
	}
	if len(p.errs) > before {
		return nil
	}
	return e
}

// speed returns what the settings say.
func (e *entry) speed() *Speed {
	s := &Speed{Engine: e.setting("engine").values[0].(string), Repeats: e.setting("repeats").values[0].(int), Cache: e.setting("cache").values[0].(string)}
	for _, v := range e.setting("shapes").values {
		s.Shapes = append(s.Shapes, v.(string))
	}
	for _, v := range e.setting("tokens").values {
		s.Tokens = append(s.Tokens, v.(int))
	}
	return s
}

// Products returns the products to time for t, whose form has a kernel (see
// trial.Executable): in the form of its weights beside dense4 of the same group
// and w16a16. why tells what cannot be timed for other reasons.
func (t *Trial) Products() (products []Product, own string, why string) {
	m := t.Method
	form, err := m.Form()
	if err != nil {
		return nil, "", err.Error()
	}
	l := Layout{Scheme: "w4" + t.Activations, Group: m.Int("group")}
	switch {
	case form == nil:
		own, l.Group = W16A16, 128
	case form.Outliers && m.Float("outliers") == 0:
		return nil, "", "how many outliers a threshold gives depends on the weights"
	case form.Outliers:
		own, l.Outliers = Outlier16, m.Float("outliers")
	case form.Residual != nil:
		// What is tied to the base is executed with scales of rows, and codes of 2
		// or 3 bits in 4.
		r := form.Residual
		own, l.Density, l.RowScale = Zipper, m.Float("density"), r.RowScales || r.BaseScales
		l.Block = Block{Rows: r.BlockRows, Cols: r.BlockCols}
	default:
		own = Dense4
	}
	l.Variants = []string{W16A16}
	if own != W16A16 {
		l.Variants = append(l.Variants, Dense4)
	}
	if own != W16A16 && own != Dense4 {
		l.Variants = append(l.Variants, own)
	}
	for _, ref := range t.Speed.Shapes {
		all, err := ShapesOf(ref)
		if err != nil {
			panic("plan: " + err.Error()) // the kind has checked it
		}
		for _, s := range all {
			for _, tokens := range t.Speed.Tokens {
				if l.Group > 0 && s.K%l.Group != 0 {
					return nil, "", "the group " + kinds.GroupSize.Write(l.Group) + " does not divide the columns of " + s.String()
				}
				products = append(products, Product{Model: s.Model, Layer: s.Layer, N: s.N, K: s.K, Tokens: tokens, Layout: l,
					Timing: Timing{Repeats: t.Speed.Repeats, Cache: t.Speed.Cache, Seed: 1}})
			}
		}
	}
	return products, own, ""
}

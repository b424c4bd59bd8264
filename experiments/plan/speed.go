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
	s := &Speed{Engine: e.setting("engine").values[0].(string), Repeats: e.setting("repeats").values[0].(int),
		Cache: e.setting("cache").values[0].(string)}
	for _, v := range e.setting("shapes").values {
		s.Shapes = append(s.Shapes, v.(string))
	}
	for _, v := range e.setting("tokens").values {
		s.Tokens = append(s.Tokens, v.(int))
	}
	return s
}

// Timed returns the products whose times t asks for: each of its shapes with each of
// its numbers of tokens. Their layout says how activations are rounded, no more.
func (t *Trial) Timed() []Product {
	var products []Product
	for _, ref := range t.Speed.Shapes {
		all, err := ShapesOf(ref)
		if err != nil {
			panic("plan: " + err.Error()) // the kind has checked it
		}
		for _, s := range all {
			for _, tokens := range t.Speed.Tokens {
				products = append(products, Product{Model: s.Model, Layer: s.Layer, N: s.N, K: s.K, Tokens: tokens,
					Layout: Layout{Scheme: "w4" + t.Activations},
					Timing: Timing{Repeats: t.Speed.Repeats, Cache: t.Speed.Cache, Seed: 1}})
			}
		}
	}
	return products
}

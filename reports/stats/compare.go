package stats

import (
	"fmt"
	"math"
	"slices"

	"github.com/mosaicquant/mosaicquant/reports/format"
)

// Comparison is a row minus its baseline, window by window.
type Comparison struct {
	Baseline *Entry
	NLL      Estimate  // nat/token; negative is better than the baseline
	PPL      Estimate  // ratio of perplexities per token, exp of NLL
	KL       Estimate  // nat/token
	KLRatio  *Estimate // nil where a divergence is zero
	Top1     *Estimate // share of tokens
	Draws    int       // draws behind it, paired; 0 for one
	// DrawLow and DrawHigh are the ends of KLRatio over the draws, each against the
	// baseline's same draw.
	DrawLow, DrawHigh float64

	// HolmNLL and HolmKL are p-values of "no difference", corrected over all
	// comparisons of the group with its baselines; HolmKL is that of KLRatio
	// where there is one, else that of KL.
	HolmNLL, HolmKL float64
}

// compare fills Versus of every entry that names a baseline.
func (g *Group) compare(t *Table) {
	byName := map[string][]*Entry{}
	for _, e := range g.Entries {
		byName[e.Label] = append(byName[e.Label], e)
	}
	var done []*Entry
	for _, e := range g.Entries {
		if e.Baseline == "" {
			continue
		}
		if !slices.Contains(g.Baseline, e.Baseline) {
			g.Baseline = append(g.Baseline, e.Baseline)
		}
		if e.Baseline == e.Label {
			e.VersusNote = "baseline"
			continue
		}
		switch found := byName[e.Baseline]; len(found) {
		case 0:
			e.VersusNote = "baseline " + e.Baseline + " " + t.whereIs(e.Baseline)
		case 1:
			c, err := versus(e, found[0])
			if err != nil {
				e.VersusNote = err.Error()
				continue
			}
			e.Versus = c
			done = append(done, e)
		default:
			e.VersusNote = fmt.Sprintf("%d rows are called %s", len(found), e.Baseline)
		}
	}
	slices.SortFunc(g.Baseline, format.Natural)
	nll, kl := make([]float64, len(done)), make([]float64, len(done))
	for i, e := range done {
		nll[i], kl[i] = e.Versus.NLL.P, e.Versus.KL.P
		if r := e.Versus.KLRatio; r != nil {
			kl[i] = r.P // of the statistic whose interval is shown
		}
	}
	nll, kl = Holm(nll), Holm(kl)
	for i, e := range done {
		e.Versus.HolmNLL, e.Versus.HolmKL = nll[i], kl[i]
	}
}

// whereIs says what became of a baseline that is not in the group.
func (t *Table) whereIs(label string) string {
	for _, e := range t.Failed {
		if e.Label == label {
			return "failed"
		}
	}
	for _, g := range t.Groups {
		for _, e := range g.Entries {
			if e.Label == label {
				return "has another model, protocol or activation format"
			}
		}
	}
	return "has no row"
}

// versus compares a with its baseline b over the windows both saw.
func versus(a, b *Entry) (*Comparison, error) {
	base := b
	draws := pairedDraws(a, b)
	a, b = draws[0], draws[1]
	if !slices.Equal(a.WindowTokens, b.WindowTokens) {
		return nil, fmt.Errorf("%w those of %s", errWindows, b.Label)
	}
	c := &Comparison{Baseline: base}
	var err error
	if c.NLL, err = Difference(a.WindowNLL, b.WindowNLL, a.WindowTokens); err != nil {
		return nil, fmt.Errorf("NLL: %w", err)
	}
	if c.KL, err = Difference(a.WindowKL, b.WindowKL, a.WindowTokens); err != nil {
		return nil, fmt.Errorf("KL: %w", err)
	}
	c.PPL = c.NLL.Exp()
	if r, err := logKLRatio(a, b); err == nil {
		r = r.Exp()
		c.KLRatio = &r
	}
	c.drawn(a, b)
	if d, err := Difference(a.WindowTop1, b.WindowTop1, a.WindowTokens); err == nil {
		c.Top1 = &d
	}
	return c, nil
}

// drawn fills the spread over the draws of a, each against the same draw of b or,
// where b has none, against b.
func (c *Comparison) drawn(a, b *Entry) {
	for i, d := range a.Draws {
		o := b
		if b.Draws != nil {
			j := slices.IndexFunc(b.Draws, func(o *Entry) bool { return o.Axes[seedAxis] == d.Axes[seedAxis] })
			if j < 0 { // no draw is common
				return
			}
			o = b.Draws[j]
		}
		r, err := logKLRatio(d, o)
		if err != nil {
			c.Draws = 0
			return
		}
		v := math.Exp(r.Value)
		if i == 0 {
			c.DrawLow, c.DrawHigh = v, v
		}
		c.Draws, c.DrawLow, c.DrawHigh = i+1, min(c.DrawLow, v), max(c.DrawHigh, v)
	}
}

// logKLRatio is log(KL of a / KL of b), paired.
func logKLRatio(a, b *Entry) (Estimate, error) {
	draws := pairedDraws(a, b)
	a, b = draws[0], draws[1]
	if !slices.Equal(a.WindowTokens, b.WindowTokens) {
		return Estimate{}, errWindows
	}
	return LogContrast(Term{1, a.WindowKL}, Term{-1, b.WindowKL})
}

// Correlated counts the group's comparisons with a baseline, and those whose
// contributions of neighbouring windows correlate more than chance would make
// them in 95 % of independent cases (|r| > 1.96/√n).
func (g *Group) Correlated() (n, beyond int) {
	for _, e := range g.Entries {
		if e.Versus == nil || !e.Versus.KL.Interval() {
			continue
		}
		n++
		if math.Abs(e.Versus.KL.Lag1) > 1.96/math.Sqrt(float64(e.Versus.KL.N)) {
			beyond++
		}
	}
	return n, beyond
}

// AgainstBaseline counts the n comparisons with baselines in which divergence
// and perplexity are lower and higher, and returns the rows of these.
func (g *Group) AgainstBaseline() (n int, kl, ppl [2]int, rows []*Entry) {
	for _, e := range g.Entries {
		v := e.Versus
		if v == nil || !v.NLL.Interval() {
			continue
		}
		n++
		count := func(to *[2]int, holm, difference float64) bool {
			switch {
			case !(holm < 1-Level):
				return false
			case difference < 0:
				to[0]++
			default:
				to[1]++
			}
			return true
		}
		one, other := count(&kl, v.HolmKL, v.KL.Value), count(&ppl, v.HolmNLL, v.NLL.Value)
		if one || other {
			rows = append(rows, e)
		}
	}
	return n, kl, ppl, rows
}

// KLRatio is the mean KL of a over that of b, paired by window and draw.
func KLRatio(a, b *Entry) (Estimate, error) {
	r, err := logKLRatio(a, b)
	return r.Exp(), err
}

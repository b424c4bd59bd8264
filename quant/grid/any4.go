package grid

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/mosaicquant/mosaicquant/internal/half"
	"github.com/mosaicquant/mosaicquant/internal/parallel"
	"github.com/mosaicquant/mosaicquant/quant"
)

// any4 returns the grid of a group without its row's table: u = (w-offset)/scale
// runs from -8 to 7, or as far as fewer bits go.
func (f Fitter) any4(w []float32, skip []bool) (Grid, error) {
	lo, hi := ends(w, skip)
	g := Grid{kind: f.Format.Kind, Hi: f.Format.Highest()}
	s := (hi - lo) / float64(g.Hi)
	g.Bits = half.ToF16(float32(s))
	g.Scale = float64(half.FromF16(g.Bits))
	offset := lo + float64(f.Format.Offset())*g.Scale
	g.OffsetBits = half.ToF16(float32(offset))
	g.Offset = float64(half.FromF16(g.OffsetBits))
	if math.IsInf(g.Scale, 0) || math.IsInf(g.Offset, 0) {
		return g, fmt.Errorf("scale %g and offset %g for weights in [%g,%g] exceed half precision", s, offset, lo, hi)
	}
	return g, nil
}

// ends are the smallest and the largest of the weights that are not skipped, zeros for
// none.
func ends(w []float32, skip []bool) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for i, x := range w {
		if skip == nil || !skip[i] {
			lo, hi = min(lo, float64(x)), max(hi, float64(x))
		}
	}
	if lo > hi {
		return 0, 0
	}
	return lo, hi
}

// any4Tables finds the table of each row for its fitted groups. Draws come from
// the problem's seed, name and row.
func (f Fitter) any4Tables(p quant.Problem, w quant.Matrix, grids []Grid, skip []bool) error {
	weight, power, err := f.any4Weights(p, w.Cols)
	if err != nil {
		return err
	}
	size, count := f.Format.Groups(w.Cols)
	name := fnv.New64a()
	name.Write([]byte(p.Name))
	return parallel.For(w.Rows, func(i int) error {
		var out []bool
		if skip != nil {
			out = skip[i*w.Cols : (i+1)*w.Cols]
		}
		row := grids[i*count : (i+1)*count]
		draw := rand.New(rand.NewPCG(p.Seed, name.Sum64()+uint64(i)))
		points := any4Points(w.Row(i), size, row, weight, power, out)
		table := kmeans(points, 1<<f.Format.Bits, draw)
		for range f.Scale.Restarts {
			if t := kmeans(points, 1<<f.Format.Bits, draw); spread(points, t) < spread(points, table) {
				table = t
			}
		}
		for c, v := range table {
			table[c] = float64(half.FromF16(half.ToF16(float32(v))))
		}
		slices.Sort(table)
		l := quant.NewLevels(table)
		for g := range row {
			row[g].Levels, row[g].Zero = l, int(l.Zero)
		}
		return nil
	})
}

// any4Weights returns how k-means weighs a weight of column j and scale α:
// weight[j]·α^power.
func (f Fitter) any4Weights(p quant.Problem, k int) (weight []float64, power float64, err error) {
	weight = make([]float64, k)
	switch f.Scale.Rule {
	case AbsMax:
		if p.Moments == nil || len(p.Moments.Mean) != k {
			return nil, 0, p.Errorf("any4 weighs by the mean input of each channel, and has none")
		}
		for j, v := range p.Moments.Mean {
			weight[j] = math.Abs(float64(v))
		}
		return weight, 1, nil
	case SearchHessian:
		copy(weight, p.Diag())
	default:
		for j := range weight {
			weight[j] = 1
		}
	}
	return weight, 2, nil
}

// any4Points are the weights of a row relative to the grids of its groups of size; those of
// a group of scale 0 and those that do not count have no weight. Where nothing
// else has one (dead channels only), all count alike.
func any4Points(w []float32, size int, grids []Grid, weight []float64, power float64, skip []bool) []point {
	points := make([]point, len(w))
	var total float64
	for j, v := range w {
		g := &grids[j/size]
		if g.Scale == 0 || skip != nil && skip[j] {
			continue
		}
		points[j] = point{(float64(v) - g.Offset) / g.Scale, weight[j] * math.Pow(g.Scale, power)}
		total += points[j].weight
	}
	if !(total > 0) {
		for j := range points {
			if grids[j/size].Scale > 0 {
				points[j].weight = 1
			}
		}
	}
	return points
}

// point is a number with a weight >= 0.
type point struct{ value, weight float64 }

// kmeans returns k centres, ascending, that locally minimise the sum of weight
// times squared distance to the nearest centre: greedy k-means++ as in
// scikit-learn (of 2+ln k candidates the one that lowers the sum most), then
// Lloyd's iteration to its end, or 300 rounds.
func kmeans(points []point, k int, draw *rand.Rand) []float64 {
	points = sortedPoints(points)
	if len(points) == 0 {
		return make([]float64, k)
	}
	centers := plusplus(points, k, draw)
	slices.Sort(centers)
	l := newLloyd(points)
	for range 300 {
		if !l.step(centers) {
			break
		}
	}
	return centers
}

// spread is the sum of weight times squared distance to the nearest of the ascending
// centers.
func spread(points []point, centers []float64) (sum float64) {
	l := quant.NewLevels(centers)
	for _, p := range points {
		d := p.value - centers[l.Nearest(p.value)]
		sum += p.weight * d * d
	}
	return sum
}

// sortedPoints returns the points that have a weight, by value.
func sortedPoints(points []point) []point {
	points = slices.DeleteFunc(slices.Clone(points), func(p point) bool { return p.weight == 0 })
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.value, b.value) })
	return points
}

func plusplus(points []point, k int, draw *rand.Rand) []float64 {
	dist := make([]float64, len(points)) // weighted, to the nearest centre
	for i, p := range points {
		dist[i] = p.weight
	}
	pick := func() float64 {
		var sum float64
		for _, d := range dist {
			sum += d
		}
		at := draw.Float64() * sum
		for i, d := range dist {
			if at -= d; at < 0 && d > 0 {
				return points[i].value
			}
		}
		return points[len(points)-1].value
	}
	centers := []float64{pick()}
	for i, p := range points {
		d := p.value - centers[0]
		dist[i] *= d * d
	}
	trials := 2 + int(math.Log(float64(k)))
	best, next := make([]float64, len(points)), make([]float64, len(points))
	for len(centers) < k {
		least, center := math.Inf(1), 0.0
		for range trials {
			c := pick()
			var sum float64
			for i, p := range points {
				d := p.value - c
				next[i] = min(dist[i], p.weight*d*d)
				sum += next[i]
			}
			if sum < least {
				least, center = sum, c
				best, next = next, best
			}
		}
		centers = append(centers, center)
		copy(dist, best)
	}
	return centers
}

// lloyd has the sorted points and the sums of all that come before each: a
// cluster is a range of them, so that a step costs no pass over the points.
type lloyd struct {
	points         []point
	weight, moment []float64
}

func newLloyd(points []point) *lloyd {
	l := &lloyd{points, make([]float64, len(points)+1), make([]float64, len(points)+1)}
	for i, p := range points {
		l.weight[i+1] = l.weight[i] + p.weight
		l.moment[i+1] = l.moment[i] + p.weight*p.value
	}
	return l
}

// step moves each of the ascending centers to the mean of its points, or leaves
// it where it has none, and reports whether any moved.
func (l *lloyd) step(centers []float64) (moved bool) {
	from := 0
	for c := range centers {
		to := len(l.points)
		if c+1 < len(centers) {
			mid := (centers[c] + centers[c+1]) / 2
			to, _ = slices.BinarySearchFunc(l.points, mid, func(p point, m float64) int {
				if p.value <= m {
					return -1
				}
				return 1
			})
		}
		if w := l.weight[to] - l.weight[from]; to > from && w > 0 {
			mean := (l.moment[to] - l.moment[from]) / w
			// Rounding of the sums must not push it out of its own range.
			mean = max(l.points[from].value, min(l.points[to-1].value, mean))
			moved = moved || mean != centers[c]
			centers[c] = mean
		}
		from = to
	}
	return moved
}

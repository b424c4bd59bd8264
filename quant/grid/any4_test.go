package grid

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosaicquant/mosaicquant/internal/gemm"
	"github.com/mosaicquant/mosaicquant/quant"
	"github.com/mosaicquant/mosaicquant/quant/quanttest"
)

// TestKMeansGolden compares k-means with scikit-learn's.
func TestKMeansGolden(t *testing.T) {
	for _, c := range quanttest.ReadFormats(t).Any4 {
		u, v, weight := gemm.NewMatrix(1, 128), gemm.NewMatrix(1, 128), gemm.NewMatrix(1, 128)
		quanttest.Integers(u, c.Seed)
		quanttest.Integers(v, c.Seed+10)
		quanttest.Integers(weight, c.Seed+20)
		points := make([]point, 128)
		for j := range points {
			points[j] = point{float64(u.Data[j]*64+v.Data[j]*64+256) / 512 * 15, float64(weight.Data[j]*64+129) / 256}
		}
		sorted := sortedPoints(points)
		l, centers := newLloyd(sorted), make([]float64, 16)
		for i := range centers {
			centers[i] = sorted[4+8*i].value
		}
		for l.step(centers) {
		}
		quanttest.Near(t, "inertia from given centres", inertia(points, centers), c.FromStart, 1e-9)
		var sum float64
		for seed := range uint64(50) {
			got := inertia(points, kmeans(points, 16, rand.New(rand.NewPCG(seed, 0))))
			if !(got > .98*c.Best && got < 1.1*c.Worst) {
				t.Errorf("any4 row %d: inertia %g, scikit-learn reaches %g to %g", c.Seed, got, c.Best, c.Worst)
			}
			sum += got / 50
		}
		quanttest.Near(t, "mean inertia against scikit-learn's median", sum, c.Median, .05)
	}
}

func inertia(points []point, centers []float64) float64 {
	var sum float64
	for _, p := range points {
		least := math.Inf(1)
		for _, c := range centers {
			least = min(least, (p.value-c)*(p.value-c))
		}
		sum += p.weight * least
	}
	return sum
}

// No step of Lloyd's iteration raises the inertia, and it ends where centres are
// the means of their points.
func TestKMeansDescends(t *testing.T) {
	draw := rand.New(rand.NewPCG(4, 4))
	for _, n := range []int{1, 3, 16, 17, 100, 999} {
		points := make([]point, n)
		for i := range points {
			points[i] = point{draw.NormFloat64() * 5, draw.Float64()}
			if i%7 == 3 {
				points[i].weight = 0
			}
		}
		sorted := sortedPoints(points)
		l := newLloyd(sorted)
		centers := make([]float64, 16)
		for c := range centers {
			centers[c] = float64(c)/3 - 2
		}
		last := inertia(points, centers)
		for l.step(centers) {
			got := inertia(points, centers)
			if !(got <= last*(1+1e-12)) {
				t.Fatalf("%d points: inertia rises from %g to %g", n, last, got)
			}
			last = got
		}
		got := kmeans(points, 16, rand.New(rand.NewPCG(1, 1)))
		if n <= 16 && !(inertia(points, got) < 1e-9) {
			t.Errorf("%d points, 16 centres: inertia %g", n, inertia(points, got))
		}
		for c, v := range got { // each is the mean of what is nearest to it
			var weight, moment float64
			for _, p := range points {
				if quant.NewLevels(got).Nearest(p.value) == uint8(c) {
					weight, moment = weight+p.weight, moment+p.weight*p.value
				}
			}
			if weight > 0 && !(math.Abs(moment/weight-v) < 1e-9) {
				t.Errorf("%d points: centre %g, mean of its points %g", n, v, moment/weight)
			}
		}
	}
	if got := kmeans(nil, 16, draw); len(got) != 16 {
		t.Error("no points, no centres")
	}
}

// The tables that any4's code ends with from evenly spaced centres, weighing as
// its published runs do, the scales and offsets of its groups, and its values.
// Half precision moves a weight by up to 0.01 of a step.
func TestAny4Published(t *testing.T) {
	golden := quanttest.ReadPublished(t).Any4
	w := quanttest.Drawn(4, 256, 31)
	for i := range w.Rows {
		for j := 128; j < 256; j++ {
			w.Row(i)[j] *= 8
		}
	}
	f := Fitter{Format: quant.Format{Bits: 4, Affine: true, Group: 128, Kind: quant.Any4}, Scale: Scale{Rule: AbsMax}}
	p := quant.Problem{Name: "golden", Weights: w, Moments: &quant.Moments{K: 256, Mean: quanttest.Drawn(1, 256, 32).Data}}
	weight, power, err := f.any4Weights(p, 256)
	if err != nil {
		t.Fatal(err)
	}
	differ := 0
	for i := range w.Rows {
		var grids []Grid
		for g := range 2 {
			gr, err := f.any4(w.Row(i)[g*128:(g+1)*128], nil)
			if err != nil {
				t.Fatal(err)
			}
			quanttest.Near(t, "scale", gr.Scale, golden.Scales[i*2+g], 5e-4)
			if d := gr.Offset - golden.Zeros[i*2+g]; !(math.Abs(d) < .01*gr.Scale) {
				t.Errorf("offset %g, want %g, of scale %g", gr.Offset, golden.Zeros[i*2+g], gr.Scale)
			}
			grids = append(grids, gr)
		}
		points := sortedPoints(any4Points(w.Row(i), w.Cols/len(grids), grids, weight, power, nil))
		lo, hi := points[0].value, points[len(points)-1].value
		centers := make([]float64, 16)
		for c := range centers {
			centers[c] = lo + (hi-lo)*float64(c)/15
		}
		for l := newLloyd(points); l.step(centers); {
		}
		for c, got := range centers {
			if want := golden.Tables[i*16+c] - 8; !(math.Abs(got-want) < .02) {
				t.Errorf("row %d: centre %d is %g, want %g", i, c, got, want)
			}
		}
		l := quant.NewLevels(centers)
		for j := range 256 {
			gr := grids[j/128]
			gr.Levels = l
			if d := gr.Value(gr.Code(float64(w.Row(i)[j]))) - golden.Values[i*256+j]; !(math.Abs(d) < .04*gr.Scale) {
				differ++
			}
		}
	}
	if differ > 8 { // halfway between two centres
		t.Errorf("%d of 1024 values differ", differ)
	}
}

// More starts never lose more under the weights of k-means, and less where one start ends
// in a poor optimum; they make normal weights about as good as what is published, 21.18 dB.
func TestAny4Restarts(t *testing.T) {
	draw := rand.New(rand.NewPCG(7, 8))
	w := gemm.NewMatrix(8, 4096)
	for i := range w.Data {
		w.Data[i] = float32(draw.NormFloat64())
	}
	p := quant.Problem{Name: "layer", Weights: w}
	var last []float64
	for _, restarts := range []int{0, 1, 9} {
		f := Fitter{Format: quant.Format{Bits: 4, Affine: true, Group: 128, Kind: quant.Any4},
			Scale: Scale{Rule: SearchMSE, Norm: 2, Restarts: restarts}}
		grids, err := FitAll(p, w, f, nil)
		if err != nil {
			t.Fatal(err)
		}
		lost := make([]float64, w.Rows)
		var sum, energy float64
		for i := range w.Rows {
			for k, v := range w.Row(i) {
				g := &grids[i*32+k/128]
				d := float64(v) - g.Value(g.Code(float64(v)))
				lost[i] += d * d
				energy += float64(v) * float64(v)
			}
			sum += lost[i]
			if last != nil && lost[i] > last[i]*1.001 { // tables are rounded to half precision
				t.Errorf("row %d loses %g with %d restarts, and %g with fewer", i, lost[i], restarts, last[i])
			}
		}
		last = lost
		t.Logf("%d restarts: %.3f dB", restarts, 10*math.Log10(energy/sum))
		if db := 10 * math.Log10(energy/sum); restarts == 9 && !(db > 21.175) {
			t.Errorf("%.3f dB with 9 restarts", db)
		}
	}
}

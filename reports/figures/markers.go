package figures

import (
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// marker is the shape of a point of radius r.
type marker func(c draw.Canvas, at vg.Point, r vg.Length, col color.Color)

func polygon(n int, turn float64, radius ...float64) marker {
	return func(c draw.Canvas, at vg.Point, r vg.Length, col color.Color) {
		var pts []vg.Point
		for i := range n {
			sin, cos := math.Sincos(turn + 2*math.Pi*float64(i)/float64(n))
			s := r * vg.Length(radius[i%len(radius)])
			pts = append(pts, vg.Point{X: at.X + s*vg.Length(cos), Y: at.Y + s*vg.Length(sin)})
		}
		c.FillPolygon(col, pts)
	}
}

var (
	square   = polygon(4, math.Pi/4, 1.25)
	diamond  = polygon(4, 0, 1.3)
	triangle = polygon(3, math.Pi/2, 1.35)
	down     = polygon(3, -math.Pi/2, 1.35)
	star     = polygon(10, math.Pi/2, 1.5, 0.65)
	plus     = polygon(12, math.Pi/12, 1.35, 1.35, 0.5)
	cross    = polygon(12, math.Pi/3, 1.35, 1.35, 0.5)
)

func circle(c draw.Canvas, at vg.Point, r vg.Length, col color.Color) {
	c.SetColor(col)
	var p vg.Path
	p.Move(vg.Point{X: at.X + r, Y: at.Y})
	p.Arc(at, r, 0, 2*math.Pi)
	p.Close()
	c.Fill(p)
}

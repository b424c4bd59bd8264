package rotation

// Hadamard returns a Hadamard matrix of order n, entries +1 and -1 by row, with
// H·Hᵀ = n·I. It knows the orders 1 and 2 and those of Paley's two constructions
// (Paley 1933, doi:10.1002/sapm1933121311): n-1 a prime power that is 3 mod 4, or
// n/2-1 a prime power that is 1 mod 4. ok is false for all other orders.
func Hadamard(n int) (h [][]int8, ok bool) {
	switch {
	case n == 1:
		return [][]int8{{1}}, true
	case n == 2:
		return [][]int8{{1, 1}, {1, -1}}, true
	case n < 4 || n%4 != 0:
		return nil, false
	}
	if f := newField(n - 1); f != nil && (n-1)%4 == 3 {
		return paleyI(f), true
	}
	if f := newField(n/2 - 1); f != nil && (n/2-1)%4 == 1 {
		return paleyII(f), true
	}
	return nil, false
}

// paleyI returns I + S of order q+1, S being skew.
func paleyI(f *field) [][]int8 {
	h := square(f.q + 1)
	for i := range h {
		for j := range h {
			switch {
			case i == j:
				h[i][j] = 1
			case i == 0:
				h[i][j] = 1
			case j == 0:
				h[i][j] = -1
			default:
				h[i][j] = f.character(i-1, j-1)
			}
		}
	}
	return h
}

// paleyII returns C⊗[[1,1],[1,-1]] + I⊗[[1,-1],[-1,-1]] of order 2(q+1), C being a
// symmetric conference matrix.
func paleyII(f *field) [][]int8 {
	h := square(2 * (f.q + 1))
	for i := range f.q + 1 {
		for j := range f.q + 1 {
			var c int8
			switch {
			case i == j:
			case i == 0 || j == 0:
				c = 1
			default:
				c = f.character(i-1, j-1)
			}
			a := [2][2]int8{{c, c}, {c, -c}}
			if i == j {
				a = [2][2]int8{{1, -1}, {-1, -1}}
			}
			for u := range 2 {
				for v := range 2 {
					h[2*i+u][2*j+v] = a[u][v]
				}
			}
		}
	}
	return h
}

func square(n int) [][]int8 {
	h := make([][]int8, n)
	for i := range h {
		h[i] = make([]int8, n)
	}
	return h
}

// field is GF(q), q = p^e. An element is the number whose digits to base p are
// the coefficients of a polynomial, the constant first.
type field struct {
	q, p, e int
	modulus []int  // of degree e, the coefficients below the leading 1
	residue []bool // whether an element is a non-zero square
}

// newField returns GF(q), nil where q is no prime power.
func newField(q int) *field {
	if q < 2 {
		return nil
	}
	p := 2
	for ; p*p <= q && q%p != 0; p++ {
	}
	if q%p != 0 {
		p = q
	}
	f := &field{q: q, p: p}
	for r := q; r > 1; r /= p {
		if r%p != 0 {
			return nil
		}
		f.e++
	}
	f.modulus = f.irreducible()
	f.residue = make([]bool, q)
	for a := 1; a < q; a++ {
		f.residue[f.multiply(a, a)] = true
	}
	return f
}

// irreducible returns the first polynomial of degree e for which no product of
// two non-zero elements is zero.
func (f *field) irreducible() []int {
	for code := range f.q {
		f.modulus = f.digits(code)
		if f.isField() {
			return f.modulus
		}
	}
	panic("rotation: no irreducible polynomial") // there is one of every degree
}

// isField tells whether some element generates all non-zero ones, which holds for
// fields alone.
func (f *field) isField() bool {
	for g := 1; g < f.q; g++ {
		seen, x := 1, g
		for x > 1 && seen < f.q {
			x, seen = f.multiply(x, g), seen+1
		}
		if x == 1 && seen == f.q-1 {
			return true
		}
	}
	return false
}

func (f *field) digits(a int) []int {
	d := make([]int, f.e)
	for i := range d {
		d[i], a = a%f.p, a/f.p
	}
	return d
}

func (f *field) number(d []int) int {
	a := 0
	for i := len(d) - 1; i >= 0; i-- {
		a = a*f.p + d[i]
	}
	return a
}

func (f *field) multiply(a, b int) int {
	x, y := f.digits(a), f.digits(b)
	out := make([]int, f.e)
	for i := f.e - 1; i >= 0; i-- { // Horner: out = out·t + y_i·x
		top := out[f.e-1]
		copy(out[1:], out[:f.e-1])
		out[0] = 0
		for j := range out {
			out[j] = ((out[j]-top*f.modulus[j]+y[i]*x[j])%f.p + f.p) % f.p
		}
	}
	return f.number(out)
}

// character is the quadratic character of a-b: 1 for squares, -1 for others.
func (f *field) character(a, b int) int8 {
	x, y := f.digits(a), f.digits(b)
	for i := range x {
		x[i] = (x[i] - y[i] + f.p) % f.p
	}
	switch d := f.number(x); {
	case d == 0:
		return 0
	case f.residue[d]:
		return 1
	}
	return -1
}

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tabled adds the products of a group whose codes stand for levels of their rows (tables.go
// of the package). Sums of the 16 rows lie behind the output until all of them are there.
func (e *engine) tabled(x, cells Register) {
	table, tableAt, left := ZMM(), AllocLocal(8), AllocLocal(8)
	out, xs, n := GP64(), GP64(), GP64()
	Comment("Lanes of the last 32 columns.")
	MOVQ(cells, xs)
	ANDQ(Imm(3), xs)
	SHLQ(Imm(3), xs)
	MOVL(I32(-1), n.As32())
	BZHIL(xs.As32(), n.As32(), n.As32())
	KMOVW(n.As32(), K2)
	SHRL(Imm(16), n.As32())
	KMOVW(n.As32(), K3)
	Load(Param("out"), out)
	ADDQ(U32(64*e.tokens), out)
	MOVQ(e.start, n)
	MOVQ(n, tableAt)
	MOVQ(U32(16), left)
	acc := e.acc[:2*e.tokens]
	levels := func(at int) {
		VPMOVZXBD(Mem{Base: e.w, Disp: at}, e.low)
		VPSRLD(Imm(4), e.low, e.high)
		VPERMPS(table, e.low, e.low)
		VPERMPS(table, e.high, e.high)
	}

	Label("table_row")
	MOVQ(tableAt, n)
	VCVTPH2PS(Mem{Base: n}, table)
	ADDQ(Imm(32), n)
	MOVQ(n, tableAt)
	MOVQ(x, xs)
	MOVQ(cells, n)
	for _, z := range acc {
		VPXORD(z, z, z)
	}
	for _, unroll := range []int{2, 1} {
		loop, done := fmt.Sprintf("table_%d", unroll), fmt.Sprintf("table_%d_done", unroll)
		SUBQ(Imm(uint64(4*unroll)), n)
		JL(LabelRef(done))
		Label(loop)
		for i := range unroll {
			levels(16 * i)
			for t := range e.tokens {
				VFMADD231PS(e.token(xs, t, 128*i), e.low, acc[t])
				VFMADD231PS(e.token(xs, t, 128*i+64), e.high, acc[e.tokens+t])
			}
		}
		PREFETCHT0(Mem{Base: e.w, Disp: ahead})
		ADDQ(U32(16*unroll), e.w)
		ADDQ(U32(128*unroll), xs)
		SUBQ(Imm(uint64(4*unroll)), n)
		JGE(LabelRef(loop))
		Label(done)
		ADDQ(Imm(uint64(4*unroll)), n)
	}
	TESTQ(n, n)
	JE(LabelRef("table_stored"))
	levels(0)
	ADDQ(Imm(16), e.w)
	for t := range e.tokens {
		VMOVUPS_Z(e.token(xs, t, 0), K2, e.code)
		VFMADD231PS(e.code, e.low, acc[t])
		VMOVUPS_Z(e.token(xs, t, 64), K3, e.code)
		VFMADD231PS(e.code, e.high, acc[e.tokens+t])
	}
	Label("table_stored")
	for t := range e.tokens {
		VADDPS(acc[e.tokens+t], acc[t], acc[t])
		VMOVUPS(acc[t], Mem{Base: out, Disp: 1024 * t})
	}
	ADDQ(Imm(64), out)
	DECQ(left)
	JNE(LabelRef("table_row"))
	SUBQ(U32(1024), out)
	for t := range e.tokens {
		sums := e.sumRows(func(row int) Mem { return Mem{Base: out, Disp: 1024*t + 64*row} })
		VFMADD231PS(e.scale, sums, e.sum[t])
	}
	LEAQ(Mem{Base: x, Index: cells, Scale: 8}, xs)
	for range 3 { // 32 bytes a cell
		LEAQ(Mem{Base: xs, Index: cells, Scale: 8}, xs)
	}
	MOVQ(xs, x)
}

// sumRows returns the sums of the lanes of 16 registers, as lanes. It uses code, low, high
// and mask.
func (e *engine) sumRows(row func(int) Mem) VecVirtual {
	t0, t1 := e.low, e.high
	halve := func(shuffle func(half int, x, y, to VecVirtual), x, y VecVirtual) {
		shuffle(0, x, y, t0)
		shuffle(1, x, y, t1)
		VADDPS(t0, t1, x)
	}
	quarters := func(low, high uint64) func(half int, x, y, to VecVirtual) {
		return func(half int, x, y, to VecVirtual) {
			VSHUFF32X4(Imm([]uint64{low, high}[half]), y, x, to)
		}
	}
	within := func(half int, x, y, to VecVirtual) {
		VSHUFPS(Imm([]uint64{0x88, 0xdd}[half]), y, x, to)
	}
	part := func(k int, to VecVirtual) {
		other := e.code
		VMOVUPS(row(k), to)
		VMOVUPS(row(4+k), other)
		halve(quarters(0x44, 0xee), to, other)
		second := e.mask
		VMOVUPS(row(8+k), second)
		VMOVUPS(row(12+k), other)
		halve(quarters(0x44, 0xee), second, other)
		halve(quarters(0x88, 0xdd), to, second)
	}
	p := e.acc[:2]
	pair := func(k int, to, other VecVirtual) {
		part(k, to)
		part(k+1, other)
		halve(within, to, other)
	}
	first, other := p[0], p[1]
	pair(0, first, other)
	third := ZMM()
	pair(2, third, other)
	halve(within, first, third)
	return first
}

// tabled is that of AVX2: 8 columns of a row at a time, two accumulators for each token.
func (e *engine2) tabled(acc []VecVirtual, x, cells, out Register) {
	tables, index, upper := [2]VecVirtual{YMM(), YMM()}, e.low, e.high
	table, sums, xs, n := GP64(), GP64(), GP64(), GP64()
	left := AllocLocal(8)
	LEAQ(Mem{Base: out, Disp: 64 * e.tokens}, sums)
	MOVQ(e.start, table)
	MOVQ(U32(16), left)
	eight := func(i int) {
		Comment("Columns 0 to 7 and 8 to 15 are low nibbles of the 16 bytes, the others high ones.")
		VPMOVZXBD(Mem{Base: e.w, Disp: i % 2 * 8}, index)
		if i >= 2 {
			VPSRLD(Imm(4), index, index)
		}
		VPERMPS(tables[0], index, e.x)
		VPERMPS(tables[1], index, upper)
		VPSLLD(Imm(28), index, index)
		VBLENDVPS(index, upper, e.x, e.p)
		for t := range e.tokens {
			VFMADD231PS(e.token(xs, t, 32*i), e.p, acc[2*t+i%2])
		}
	}
	Label("table_row")
	for h := range 2 {
		VCVTPH2PS(Mem{Base: table, Disp: 16 * h}, tables[h])
	}
	ADDQ(Imm(32), table)
	MOVQ(x, xs)
	MOVQ(cells, n)
	for _, z := range acc {
		VPXOR(z, z, z)
	}
	Label("table_cells")
	for i := range 4 {
		Comment("The last 32 columns may be fewer.")
		DECQ(n)
		JL(LabelRef(fmt.Sprintf("table_end%d", min(i, 1))))
		eight(i)
	}
	PREFETCHT0(Mem{Base: e.w, Disp: ahead})
	ADDQ(Imm(16), e.w)
	ADDQ(U32(128), xs)
	JMP(LabelRef("table_cells"))
	Label("table_end1")
	ADDQ(Imm(16), e.w)
	Label("table_end0")
	for t := range e.tokens {
		VADDPS(acc[2*t+1], acc[2*t], acc[2*t])
		VMOVUPS(acc[2*t], Mem{Base: sums, Disp: 512 * t})
	}
	ADDQ(Imm(32), sums)
	DECQ(left)
	JNE(LabelRef("table_row"))
	SUBQ(U32(512), sums)
	for t := range e.tokens {
		for h := range 2 {
			e.sumEight(func(row int) Mem { return Mem{Base: sums, Disp: 512*t + 256*h + 32*row} }, acc)
			sum := Mem{Base: out, Disp: 64*t + 32*h}
			VMOVUPS(sum, e.p)
			VFMADD231PS(e.scales.Offset(32*h), e.x, e.p)
			VMOVUPS(e.p, sum)
		}
	}
	SHLQ(Imm(5), cells)
	ADDQ(cells, x)
}

// sumEight sets x to the sums of the lanes of 8 registers, as lanes.
func (e *engine2) sumEight(row func(int) Mem, acc []VecVirtual) {
	four := func(first int, to, other VecVirtual) {
		VMOVUPS(row(first), to)
		VHADDPS(row(first+1), to, to)
		VMOVUPS(row(first+2), other)
		VHADDPS(row(first+3), other, other)
		VHADDPS(other, to, to)
	}
	four(0, acc[0], e.p)
	four(4, acc[1], e.p)
	VPERM2F128(Imm(0x20), acc[1], acc[0], e.x)
	VPERM2F128(Imm(0x31), acc[1], acc[0], e.p)
	VADDPS(e.p, e.x, e.x)
}

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// csr holds the registers of a kernel for outliers in compressed sparse rows.
type csr struct {
	rows, ptr, cols, vals, x Register
	at, n, col               GPVirtual // next outlier; outliers left in the row
}

// rowLoop emits a loop over the rows; body adds up one.
func (c *csr) rowLoop(body, next func()) {
	c.at, c.n, c.col = GP64(), GP64(), GP64()
	Label("row")
	DECQ(c.rows)
	JL(LabelRef("rows_done"))
	MOVL(Mem{Base: c.ptr}, c.at.As32())
	MOVL(Mem{Base: c.ptr, Disp: 4}, c.n.As32())
	SUBQ(c.at, c.n)
	ADDQ(Imm(4), c.ptr)
	body()
	next()
	JMP(LabelRef("row"))
	Label("rows_done")
	VZEROUPPER()
	RET()
}

func loadCSR() *csr {
	return &csr{rows: Load(Param("rows"), GP64()), ptr: Load(Param("ptr"), GP64()),
		cols: Load(Param("cols"), GP64()), vals: Load(Param("vals"), GP64()), x: Load(Param("x"), GP64())}
}

const (
	sparseRowSignature  = "func(rows int, ptr *uint32, cols, vals *uint16, x *float32, y *float32)"
	sparseLaneSignature = "func(rows int, ptr *uint32, cols, vals *uint16, x *float32, out *float32)"
)

func sparse() {
	TEXT("sparseAVX512", NOSPLIT, sparseRowSignature)
	Pragma("noescape")
	Doc("sparseAVX512 adds to y[i] the product of row i of a sparse matrix with x.")
	c := loadCSR()
	y := Load(Param("y"), GP64())
	acc, index, v, h := ZMM(), ZMM(), ZMM(), ZMM()
	gather := func() { VGATHERDPS(Mem{Base: c.x, Index: index, Scale: 4}, K2, v) }
	c.rowLoop(func() {
		VPXORD(acc, acc, acc)
		Label("outliers")
		SUBQ(Imm(16), c.n)
		JL(LabelRef("tail"))
		VPMOVZXWD(Mem{Base: c.cols, Index: c.at, Scale: 2}, index)
		KXNORW(K2, K2, K2)
		gather()
		VCVTPH2PS(Mem{Base: c.vals, Index: c.at, Scale: 2}, h)
		VFMADD231PS(h, v, acc)
		ADDQ(Imm(16), c.at)
		JMP(LabelRef("outliers"))
		Label("tail")
		ADDQ(Imm(16), c.n)
		JE(LabelRef("summed"))
		mask := GP32()
		MOVL(I32(-1), mask)
		BZHIL(c.n.As32(), mask, mask)
		KMOVW(mask, K1)
		KMOVW(mask, K2)
		VPMOVZXWD_Z(Mem{Base: c.cols, Index: c.at, Scale: 2}, K1, index)
		gather()
		VCVTPH2PS_Z(Mem{Base: c.vals, Index: c.at, Scale: 2}, K1, h)
		VFMADD231PS(h, v, K1, acc)
		Label("summed")
	}, func() {
		half := YMM()
		VEXTRACTF64X4(Imm(1), acc, half)
		VADDPS(half, acc.AsY(), acc.AsY())
		sumHalves(acc, half)
		addTo(acc.AsX(), y)
	})

	sparseLanes(16)
}

// sumHalves leaves the sum of 8 lanes in the first.
func sumHalves(acc, t VecVirtual) {
	VEXTRACTF128(Imm(1), acc.AsY(), t.AsX())
	VADDPS(t.AsX(), acc.AsX(), acc.AsX())
	for _, shuffle := range []uint64{0x4e, 0xb1} {
		VPERMILPS(Imm(shuffle), acc.AsX(), t.AsX())
		VADDPS(t.AsX(), acc.AsX(), acc.AsX())
	}
}

// addTo adds sum to the float at y, which moves on.
func addTo(sum, y Register) {
	VADDSS(Mem{Base: y}, sum, sum)
	VMOVSS(sum, Mem{Base: y})
	ADDQ(Imm(4), y)
}

// sparseLanes emits the kernel for several tokens, one in each lane: no gather, since
// the activations of a column lie together.
func sparseLanes(tokens int) {
	name, shift := "sparseLanesAVX512", uint64(6)
	if tokens == 8 {
		name, shift = "sparseLanesAVX2", 5
	}
	TEXT(name, NOSPLIT, sparseLaneSignature)
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets out[i*%d+t] to the product of row i of a sparse matrix with x[·*%d+t].", name, tokens, tokens))
	c := loadCSR()
	out := Load(Param("out"), GP64())
	acc, h, v := ZMM(), YMM(), ZMM()
	if tokens == 8 {
		acc, h, v = YMM(), XMM(), YMM()
	}
	c.rowLoop(func() {
		VXORPS(acc.AsX(), acc.AsX(), acc.AsX())
		Label("outlier")
		DECQ(c.n)
		JL(LabelRef("stored"))
		MOVWQZX(Mem{Base: c.cols, Index: c.at, Scale: 2}, c.col)
		SHLQ(Imm(shift), c.col)
		VPBROADCASTW(Mem{Base: c.vals, Index: c.at, Scale: 2}, h)
		VCVTPH2PS(h, v)
		VFMADD231PS(Mem{Base: c.x, Index: c.col, Scale: 1}, v, acc)
		INCQ(c.at)
		JMP(LabelRef("outlier"))
		Label("stored")
	}, func() {
		VMOVUPS(acc, Mem{Base: out})
		ADDQ(Imm(uint64(4*tokens)), out)
	})
}

func sparseAVX2() {
	TEXT("sparseAVX2", NOSPLIT, sparseRowSignature)
	Pragma("noescape")
	Doc("sparseAVX2 adds to y[i] the product of row i of a sparse matrix with x.")
	c := loadCSR()
	y := Load(Param("y"), GP64())
	acc, index, v, h, ones, one := YMM(), YMM(), YMM(), YMM(), YMM(), XMM()
	c.rowLoop(func() {
		VPXOR(acc, acc, acc)
		VPXOR(one, one, one)
		Label("outliers")
		SUBQ(Imm(8), c.n)
		JL(LabelRef("tail"))
		VPMOVZXWD(Mem{Base: c.cols, Index: c.at, Scale: 2}, index)
		VPCMPEQD(ones, ones, ones)
		VGATHERDPS(ones, Mem{Base: c.x, Index: index, Scale: 4}, v)
		VCVTPH2PS(Mem{Base: c.vals, Index: c.at, Scale: 2}, h)
		VFMADD231PS(h, v, acc)
		ADDQ(Imm(8), c.at)
		JMP(LabelRef("outliers"))
		Label("tail")
		ADDQ(Imm(8), c.n)
		Label("single")
		DECQ(c.n)
		JL(LabelRef("summed"))
		MOVWQZX(Mem{Base: c.cols, Index: c.at, Scale: 2}, c.col)
		VPBROADCASTW(Mem{Base: c.vals, Index: c.at, Scale: 2}, h.AsX())
		VCVTPH2PS(h.AsX(), h.AsX())
		VFMADD231SS(Mem{Base: c.x, Index: c.col, Scale: 4}, h.AsX(), one)
		INCQ(c.at)
		JMP(LabelRef("single"))
		Label("summed")
	}, func() {
		sumHalves(acc, v)
		VADDSS(one, acc.AsX(), acc.AsX())
		addTo(acc.AsX(), y)
	})
	sparseLanes(8)
}

package main

import (
	"fmt"
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Records of words beside the cells (exact.go), codes of a byte, and levels of rows (tables.go).
const (
	cellsExact = cellsWidened + 1 + iota
	cellsBytes
	cellsE4M3
	cellsTables
	_
	cellsChoice
)

const (
	segmentCells = 16
	slotBytes    = 40
)

// records is what a kernel knows of the records of the group it is in.
type records struct {
	position Mem // cell of the group in its segment
	part     Mem // cells of the segment that are multiplied together
	record   Mem // of the segment
	segment  Mem // its activations, as gather writes them
	slots    Mem // of the record that are left
	upper    Mem // a bit for each of the upper eight lanes
}

// recordKeeper sets the position to the first segment.
func recordKeeper() *records {
	r := &records{}
	for _, m := range []*Mem{&r.position, &r.part, &r.record, &r.segment, &r.slots, &r.upper} {
		*m = AllocLocal(8)
	}
	v := GP64()
	XORQ(v, v)
	MOVQ(v, r.position)
	MOVQ(U32(0xff00), v)
	MOVQ(v, r.upper)
	return r
}

// parts emits f for the cells of a group, part by part: a group, or a segment of it if it is
// made of them. f multiplies n cells, moves x and w on and leaves n at zero. Then gathered
// multiplies the words of the segment that lie in the part. wide is the size of a cell of x.
func (e *engine) parts(label string, x, cells Register, wide int, f func(n Register), gathered func()) {
	r := e.records
	count, q, n := GP64(), GP64(), GP64()
	CMPQ(r.position, Imm(0))
	JNE(LabelRef(label + "_known"))
	MOVQ(e.w, r.record)
	LEAQ(Mem{Base: cells, Disp: segmentCells - 1}, count)
	SHRQ(Imm(4), count)
	IMULQ(Mem{Base: e.s, Disp: recordBytes}, count)
	ADDQ(count, e.w)
	Label(label + "_known")
	MOVQ(x, q)
	ADDQ(Mem{Base: e.s, Disp: xGathered}, q)
	MOVQ(r.position, n)
	SHLQ(Imm(uint64(bits.TrailingZeros(uint(wide)))), n)
	SUBQ(n, q)
	MOVQ(q, r.segment)
	MOVQ(U32(segmentCells), n)
	CMPQ(cells, n)
	CMOVQLT(cells, n)
	MOVQ(n, r.part)
	SUBQ(n, cells)
	f(n)
	gathered()
	MOVQ(r.position, q)
	ADDQ(r.part, q)
	ANDQ(Imm(segmentCells-1), q)
	MOVQ(q, r.position)
	TESTQ(cells, cells)
	JNE(LabelRef(label + "_known"))
}

// eachSlot emits f for every slot of the record, at rec: index holds the places of 16 rows.
// In a part of a segment K1 holds the rows whose place lies in it; in a whole one all do. It
// uses t, K1 and K2.
func (e *engine) eachSlot(label string, index, t VecVirtual, f func(rec Register, whole bool)) {
	r := e.records
	rec, n := GP64(), GP64()
	MOVQ(Mem{Base: e.s, Disp: slots}, n)
	MOVQ(r.record, rec)
	KMOVW(r.upper, K2)
	CMPQ(r.part, Imm(segmentCells))
	JNE(LabelRef(label + "_part_slot"))
	loop := func(label string, whole bool) {
		Label(label)
		VPBROADCASTD(Mem{Base: rec}, index)
		VPBROADCASTD(Mem{Base: rec, Disp: 4}, K2, index)
		VPSLLVD(e.lane(laneNibble), index, index)
		VPSRLD(Imm(28), index, index)
		if !whole {
			VPSUBD_BCST(r.position, index, t)
			VPCMPUD_BCST(Imm(1), r.part, t, K1)
		}
		f(rec, whole)
		ADDQ(Imm(slotBytes), rec)
		DECQ(n)
		JNE(LabelRef(label))
	}
	loop(label+"_slot", true)
	Comment("The next record, of a group that has several.")
	MOVQ(rec, r.record)
	JMP(LabelRef(label + "_slots_done"))
	loop(label+"_part_slot", false)
	Label(label + "_slots_done")
}

// gatherProducts adds the products of the words of a segment in a part to the accumulators
// of tokens. Words are signed bytes here, so the activations are the unsigned ones, 128
// larger than they are; what this is too much is taken back once for all slots.
func (e *engine) gatherProducts(label string, tokens int, addresses func() func(t, disp int) Mem) {
	index, low, high, t := e.code, e.low, e.high, e.riding.word
	offset, over := ZMM(), ZMM()
	VMOVDQU64(e.lane(laneTops), offset)
	VPXORD(over, over, over)
	address := addresses()
	e.eachSlot(label, index, t, func(rec Register, whole bool) {
		PREFETCHT0(Mem{Base: rec, Disp: ahead})
		VPMOVZXBW(Mem{Base: rec, Disp: 8}, low)
		VPSLLW(Imm(4), low, t)
		e.nibbles(low, t)
		VPSHUFB(t, e.riding.low, low)
		VPSHUFB(t, e.riding.high, high)
		if whole {
			VPDPBUSD(low, offset, over)
			VPDPBUSD(high, offset, over)
		} else {
			VPDPBUSD(low, offset, K1, over)
			VPDPBUSD(high, offset, K1, over)
		}
		for i := range tokens {
			for half, words := range []VecVirtual{low, high} {
				acc := e.acc[i]
				if half == 1 {
					acc = e.acc[len(e.acc)-tokens+i]
				}
				if whole {
					VPERMD(address(i, 64*half), index, t)
				} else {
					VPERMD_Z(address(i, 64*half), index, K1, t)
				}
				VPDPBUSD(words, t, acc)
			}
		}
	})
	for i := range tokens {
		VPSUBD(over, e.acc[i], e.acc[i])
	}
}

// nibbles sets t to its nibbles and those of word, one to a byte.
func (e *engine) nibbles(word, t VecVirtual) {
	VPTERNLOGD(Imm(0xa8), e.mask, word, t) // (t | word) & mask
}

// doubleCodes sets low and high to twice the codes of cell i.
func (e *engine) doubleCodes(i int) {
	VMOVDQU64(Mem{Base: e.w, Disp: 64 * i}, e.code)
	PREFETCHT0(Mem{Base: e.w, Disp: 64*i + ahead})
	VPADDB(e.code, e.code, e.low)
	VPSRLW(Imm(3), e.code, e.high)
	VPANDD(e.riding.even, e.low, e.low)
	VPANDD(e.riding.even, e.high, e.high)
}

// exactCells multiplies n cells by e.tokens tokens, four and one at a time.
func (e *engine) exactCells(label string, x, n Register) {
	for _, unroll := range []int{4, 1} {
		loop, done := fmt.Sprintf("%s_%d", label, unroll), fmt.Sprintf("%s_%d_done", label, unroll)
		Label(loop)
		SUBQ(Imm(uint64(unroll)), n)
		JL(LabelRef(done))
		for i := range unroll {
			e.doubleCodes(i)
			for t := range e.tokens {
				VPDPBUSD_BCST(e.token(x, t, 8*i), e.low, e.acc[t])
			}
			for t := range e.tokens {
				VPDPBUSD_BCST(e.token(x, t, 8*i+4), e.high, e.acc[len(e.acc)-e.tokens+t])
			}
		}
		ADDQ(U32(64*unroll), e.w)
		ADDQ(U32(8*unroll), x)
		JMP(LabelRef(loop))
		Label(done)
		ADDQ(Imm(uint64(unroll)), n)
	}
}

// exactFloat is wideFloat for groups with records.
func (e *engine) exactFloat(x, cells Register) {
	for _, z := range e.acc {
		VPXORD(z, z, z)
	}
	e.parts("exact", x, cells, 32, func(n Register) {
		Label("exact_cell")
		e.floatCell(x)
		DECQ(n)
		JNE(LabelRef("exact_cell"))
	}, func() {
		q := GP64()
		MOVQ(e.records.segment, q)
		index, t, word := e.code, ZMM(), ZMM()
		e.eachSlot("exact", index, t, func(rec Register, whole bool) {
			PREFETCHT0(Mem{Base: rec, Disp: ahead})
			VPMOVZXWD(Mem{Base: rec, Disp: 8}, word)
			for col := range 4 {
				for half, part := range []int{laneStepLow, laneStepHigh} {
					VPERMPS(e.lane(part), word, e.low)
					at := col + 4*half
					for i := range e.tokens {
						if whole {
							VPERMPS(e.token(q, i, 64*at), index, t)
						} else {
							VPERMPS_Z(e.token(q, i, 64*at), index, K1, t)
						}
						VFMADD231PS(t, e.low, e.acc[at%e.chains*e.tokens+i])
					}
				}
				if col < 3 {
					VPSRLD(Imm(4), word, word)
				}
			}
		})
	})
	e.joinChains()
	for t := range e.tokens {
		VFMADD231PS(e.scale, e.acc[t], e.sum[t])
	}
}

// exact16 multiplies a group with records by 16 tokens, eight at x and eight at second.
func (e *engine) exact16(x, second, cells, ld Register) {
	const tokens = 16
	for _, z := range e.acc {
		VPSRAD(Imm(1), z, z) // from four times the zero of codes to twice
	}
	e.parts("exact", x, cells, 8, func(n Register) {
		Label("exact_cell")
		e.doubleCodes(0)
		for h, v := range []VecVirtual{e.low, e.high} {
			for t := range tokens {
				VPDPBUSD_BCST(e.token([]Register{x, second}[t/8], t%8, 4*h), v, e.acc[t])
			}
		}
		ADDQ(Imm(64), e.w)
		ADDQ(Imm(8), x)
		ADDQ(Imm(8), second)
		DECQ(n)
		JNE(LabelRef("exact_cell"))
	}, func() {
		e.gatherProducts("exact", tokens, func() func(t, disp int) Mem {
			q := [2]Register{GP64(), GP64()}
			MOVQ(e.records.segment, q[0])
			LEAQ(Mem{Base: q[0], Index: ld, Scale: 8}, q[1])
			return func(t, disp int) Mem { return e.token(q[t/8], t%8, disp) }
		})
	})
}

// widenExact emits the kernel that writes a panel with records as bytes, for many tokens:
// first the base, then row by row what the words add to it.
func widenExact() {
	TEXT("widenExactAVX512", NOSPLIT, "func(dst *byte, src *byte, s *int, lanes *int32)")
	Pragma("noescape")
	Doc("widenExactAVX512 writes a panel with records of words as bytes.")
	e := &engine{mask: ZMM(), code: ZMM(), low: ZMM(), high: ZMM()}
	dst := Load(Param("dst"), GP64())
	e.w = Load(Param("src"), GP64())
	e.s = Load(Param("s"), GP64())
	e.lanes = Load(Param("lanes"), GP64())
	e.constant(0x0f0f0f0f, e.mask)
	e.riding = &riding{even: ZMM(), word: ZMM()}
	e.constant(0x1e1e1e1e, e.riding.even)
	e.records = recordKeeper()
	start, zero, added := AllocLocal(8), ZMM(), AllocLocal(128)
	e.constant(0x10101010, zero)
	todo, cells := GP64(), GP64()
	MOVQ(Mem{Base: e.s, Disp: groups}, todo)
	Label("group")
	SUBQ(Imm(1), todo)
	JL(LabelRef("done"))
	MOVQ(Mem{Base: e.s, Disp: groupCells}, cells)
	TESTQ(todo, todo)
	CMOVQEQ(Mem{Base: e.s, Disp: lastCells}, cells)
	copyHead(e.s, e.w, dst, e.low)
	e.parts("exact", dst, cells, 1, func(n Register) {
		MOVQ(dst, start)
		Label("cell")
		e.doubleCodes(0)
		VPADDB(zero, e.low, e.low)
		VPADDB(zero, e.high, e.high)
		VMOVDQU64(e.low, Mem{Base: dst})
		VMOVDQU64(e.high, Mem{Base: dst, Disp: 64})
		ADDQ(Imm(64), e.w)
		ADDQ(U32(128), dst)
		DECQ(n)
		JNE(LabelRef("cell"))
	}, func() {
		rec, places, at, v, base := GP64(), GP64(), GP64(), GP64(), GP64()
		MOVQ(start, base)
		MOVQ(Mem{Base: e.s, Disp: slots}, v)
		MOVQ(v, e.records.slots)
		MOVQ(e.records.record, rec)
		Label("slot")
		VPMOVZXBW(Mem{Base: rec, Disp: 8}, e.code)
		VPSLLW(Imm(4), e.code, e.high)
		e.nibbles(e.code, e.high)
		for i, part := range []int{laneRideLow, laneRideHigh} {
			Comment("Bytes of a sum are positive, so those of a dword can be added together.")
			VMOVDQU64(e.lane(part), e.low)
			VPSHUFB(e.high, e.low, e.low)
			VPSUBD(zero, e.low, e.low)
			VMOVDQU64(e.low, added.Offset(64*i))
		}
		MOVQ(Mem{Base: rec}, places)
		for row := range 16 {
			skip := fmt.Sprintf("row%d", row)
			MOVQ(places, at)
			SHRQ(Imm(4), places)
			ANDQ(Imm(15), at)
			SUBQ(e.records.position, at)
			CMPQ(at, e.records.part)
			JCC(LabelRef(skip))
			SHLQ(Imm(7), at)
			for half := range 2 {
				MOVL(added.Offset(64*half+4*row), v.As32())
				ADDL(v.As32(), Mem{Base: base, Index: at, Scale: 1, Disp: 64*half + 4*row})
			}
			Label(skip)
		}
		ADDQ(Imm(slotBytes), rec)
		DECQ(e.records.slots)
		JNE(LabelRef("slot"))
		CMPQ(e.records.part, Imm(segmentCells))
		JNE(LabelRef("slots_done"))
		MOVQ(rec, e.records.record)
		Label("slots_done")
	})
	JMP(LabelRef("group"))
	Label("done")
	VZEROUPPER()
	RET()
}

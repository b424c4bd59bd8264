package hf

import "unicode/utf8"

// bpe merges the bytes of a piece of text into tokens.
type bpe struct {
	vocab  map[string]int32 // keyed by the bytes of the token
	bytes  [256]int32       // id of each single byte, -1 for none
	merges map[pair]merge
	whole  bool // a piece that is a token needs no merges ("ignore_merges")
	runes  bool // characters are merged, and bytes of those without a token ("byte_fallback")
}

type pair struct{ left, right int32 }

type merge struct{ rank, id int32 }

// symbol is a token of the piece being merged, in a doubly linked list.
type symbol struct {
	id         int32
	prev, next int32 // -1 at the ends
}

// candidate is a merge that was possible when it was pushed. It is stale once
// either side has changed.
type candidate struct {
	rank, pos int32
	pair      pair
	id        int32
}

// before orders by rank, then from left to right.
func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.pos < b.pos
}

// scratch is the working memory of one Encode.
type scratch struct {
	symbols []symbol
	heap    []candidate
}

// encode appends the tokens of piece to ids: starting from single bytes or characters, the
// adjacent pair of lowest rank is merged, the leftmost first, until no pair can
// be. A byte without a token is left out, as Hugging Face tokenizers do. It takes
// O(n log n) for n bytes.
func (b *bpe) encode(ids []int32, piece string, s *scratch) []int32 {
	if b.whole {
		if id, ok := b.vocab[piece]; ok {
			return append(ids, id)
		}
	}
	s.symbols, s.heap = s.symbols[:0], s.heap[:0]
	b.start(piece, s)
	n := len(s.symbols)
	if n == 0 {
		return ids
	}
	s.symbols[n-1].next = -1
	for i := range n - 1 {
		b.push(s, int32(i))
	}
	for len(s.heap) > 0 {
		c := s.pop()
		left := &s.symbols[c.pos]
		if left.id != c.pair.left || left.next < 0 || s.symbols[left.next].id != c.pair.right {
			continue
		}
		gone := &s.symbols[left.next]
		gone.id = -1 // makes its own candidates stale
		left.id, left.next = c.id, gone.next
		if left.next >= 0 {
			s.symbols[left.next].prev = c.pos
			b.push(s, c.pos)
		}
		if left.prev >= 0 {
			b.push(s, left.prev)
		}
	}
	for i := int32(0); i >= 0; i = s.symbols[i].next {
		ids = append(ids, s.symbols[i].id)
	}
	return ids
}

// start fills s with the symbols of piece.
func (b *bpe) start(piece string, s *scratch) {
	add := func(id int32) {
		n := int32(len(s.symbols))
		s.symbols = append(s.symbols, symbol{id, n - 1, n + 1})
	}
	for i := 0; i < len(piece); {
		w := 1
		if b.runes {
			_, w = utf8.DecodeRuneInString(piece[i:])
			if id, ok := b.vocab[piece[i:i+w]]; ok {
				add(id)
				i += w
				continue
			}
		}
		for _, c := range []byte(piece[i : i+w]) {
			if id := b.bytes[c]; id >= 0 {
				add(id)
			}
		}
		i += w
	}
}

// push adds the merge of the symbol at pos with the next one, if there is one.
func (b *bpe) push(s *scratch, pos int32) {
	p := pair{s.symbols[pos].id, s.symbols[s.symbols[pos].next].id}
	m, ok := b.merges[p]
	if !ok {
		return
	}
	h := append(s.heap, candidate{m.rank, pos, p, m.id})
	i := len(h) - 1
	for i > 0 && h[i].before(h[(i-1)/2]) {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
	s.heap = h
}

// pop removes the first candidate.
func (s *scratch) pop() candidate {
	h := s.heap
	top, n := h[0], len(h)-1
	h[0] = h[n]
	h = h[:n]
	for i := 0; ; {
		j := 2*i + 1
		if j >= n {
			break
		}
		if j+1 < n && h[j+1].before(h[j]) {
			j++
		}
		if !h[j].before(h[i]) {
			break
		}
		h[i], h[j] = h[j], h[i]
		i = j
	}
	s.heap = h
	return top
}

package hf

import "testing"

func TestNFCBeyond16Bits(t *testing.T) {
	for _, c := range [][2]string{
		{"\U00010065\u0300", "\U00010065\u0300"}, // not U+0065 U+0300, which is U+00E8
		{"a\U00010300", "a\U00010300"},
		{"\U00011099\U000110BA", "\U0001109A"},
		{"\U00011131\U00011127", "\U0001112E"},
		{"\U000114B9\U000114BA\u0300", "\U000114BB\u0300"},
		{"\U0001D15E", "\U0001D157\U0001D165"}, // excluded from composition
		{"\u0300\U00011099\U000110BAe\u0301", "\u0300\U0001109A\u00e9"},
	} {
		if got := nfc(c[0]); got != c[1] {
			t.Errorf("nfc(%+q) = %+q, want %+q", c[0], got, c[1])
		}
	}
}

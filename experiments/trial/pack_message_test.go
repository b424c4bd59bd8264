package trial

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
)

// TestPackMessage: what the error says differs must differ.
func TestPackMessage(t *testing.T) {
	for _, q := range []*quant.Quantized{{ChannelScales: []uint16{0x3c00}}, {InputBits: 8}} {
		_, err := packAll(q, "a4")
		if q.ChannelScales != nil {
			_, err = packAll(q, "a8")
		}
		if err == nil || !strings.Contains(err.Error(), "there is no kernel") || strings.Contains(err.Error(), "a8 and not a8") {
			t.Errorf("error %v", err)
		}
	}
}

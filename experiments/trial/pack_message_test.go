package trial

import (
	"strings"
	"testing"

	"github.com/mosaicquant/mosaicquant/quant"
)

// TestPackMessage: what the error says differs must differ.
func TestPackMessage(t *testing.T) {
	_, err := packAll(&quant.Quantized{InputBits: 8}, "a4")
	if err == nil || !strings.Contains(err.Error(), "rounded to a8 and not a4 g128: there is no kernel") {
		t.Errorf("error %v", err)
	}
}

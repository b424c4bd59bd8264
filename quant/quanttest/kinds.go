package quanttest

import (
	"github.com/mosaicquant/mosaicquant/quant"
)

// Kinds are formats of every kind that 96 columns can have.
func Kinds() []quant.Format {
	return []quant.Format{
		{Bits: 4, Group: 32, Kind: quant.NF4}, {Bits: 4, Group: 48, Kind: quant.FP4}, {Bits: 4, Kind: quant.BnbFP4},
		{Bits: 4, Group: 32, Kind: quant.MXFP4}, {Bits: 4, Group: 16, Kind: quant.NVFP4},
		{Bits: 4, Affine: true, Group: 48, Kind: quant.Any4},
		{Bits: 4, Affine: true, Group: 16, Kind: quant.Bilevel}, {Bits: 3, Affine: true, Group: 16, Kind: quant.Bilevel},
		{Bits: 5, Affine: true, Group: 24},
		{Bits: 4, Group: 16, Kind: quant.NF4DQ},
		{Bits: 3, Affine: true, Group: 48, Kind: quant.AnyFew}, {Bits: 4, Group: 48, Kind: quant.Power4},
		{Bits: 4, Group: 48, Kind: quant.FireQ4}, {Bits: 4, Group: 16, Kind: quant.SDR4},
		{Bits: 4, Affine: true, Group: 48, Kind: quant.HQQ4},
		{Bits: 4, Group: 16, Kind: quant.IF4},
	}
}

package method

import "github.com/mosaicquant/mosaicquant/quant"

var rtn = &Method{
	Name:    "rtn",
	Summary: "Rounds every weight to the nearest code",
	Look:    Look{Color: "#56b4e9", Marker: "circle"},
	Keys:    []*Key{smoothing, smoothingSearch, smoothingSites, format("int4"), group(128), scale, restarts, awq, lmHead},
	Rules:   baseRules,
	Build:   func(s Settings) (quant.Quantizer, error) { return s.rtn() },
}

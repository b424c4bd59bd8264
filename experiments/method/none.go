package method

// none keeps the 16-bit weights: what all others are compared with.
var none = &Method{
	Name:    "none",
	Summary: "The 16-bit weights as they are",
	Look:    Look{Color: "#595959", Marker: "cross"},
	Keys:    []*Key{smoothing, smoothingSearch, smoothingSites},
}

// Package half converts between float32 and the narrow floating-point formats in
// which scales and weights are stored: half precision (binary16), E4M3 and E8M0.
package half

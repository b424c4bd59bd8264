package trial

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/mosaicquant/mosaicquant/experiments/plan"
	"github.com/mosaicquant/mosaicquant/internal/llm"
	"github.com/mosaicquant/mosaicquant/quant"
)

// inputs is what the quantization of one linear layer sees.
type inputs struct {
	moments *quant.Moments
	heldOut *quant.Moments // of the evaluated text; nil unless asked for
	energy  float64        // tr(W·H·Wᵀ)
}

// problem returns the problem that the i-th linear layer is, but for its weights.
func (in *inputs) problem(t plan.Trial, i int, l llm.Linear) quant.Problem {
	return quant.Problem{Name: l.Name, Moments: in.moments, HeldOut: in.heldOut, Seed: seed(t.Calibration.Seed, i)}
}

// each calls f with every linear layer of model, which has the channels of the
// subject's model scaled by scales (nil without), in order. It holds the
// statistics of one site at a time.
func (s *Subject) each(ctx context.Context, model *llm.Model, scales map[string][]float32, heldOut bool, f func(i int, l llm.Linear, in *inputs) error) error {
	calibrated, heldOutCalibrated := &calibration{s: s}, &calibration{s: s.heldOut}
	var st *statistics
	var held *quant.Moments
	linears := model.Linears()
	for i, l := range linears {
		if err := ctx.Err(); err != nil {
			return err
		}
		place := 0 // among the layers of the site
		for place < i && linears[i-1-place].Site == l.Site {
			place++
		}
		if place == 0 {
			var err error
			if st, err = calibrated.scaled(ctx, l.Site, scales); err != nil {
				return err
			}
			if heldOut {
				other, err := heldOutCalibrated.scaled(ctx, l.Site, scales)
				if err != nil {
					return err
				}
				held = other.moments
			}
		}
		in := &inputs{moments: st.moments, heldOut: held, energy: st.energies[place]}
		if scales != nil { // rows of v_proj and up_proj may be scaled, too
			in.energy = outputEnergy(l, st.moments)
		}
		if err := f(i, l, in); err != nil {
			return err
		}
	}
	return nil
}

// scaled returns the statistics of a site after smoothing, its energies still
// those of before.
func (c *calibration) scaled(ctx context.Context, site string, scales map[string][]float32) (*statistics, error) {
	plain, err := c.statistics(ctx, site)
	if err != nil || scales[site] == nil {
		return plain, err
	}
	keep := plain.moments.Keep
	st := &statistics{moments: plain.moments.Scaled(scales[site]), energies: plain.energies}
	if keep != nil {
		hash := sha256.New()
		binary.Write(hash, binary.LittleEndian, scales[site]) // a hash takes whatever comes
		sum := hex.EncodeToString(hash.Sum(nil))
		st.moments.Keep = func(name string, compute func() ([]byte, error)) ([]byte, error) {
			return keep(name+" scaled by "+sum, compute)
		}
	}
	return st, nil
}

package plan

import (
	"fmt"
	"io"
	"strings"

	"github.com/mosaicquant/mosaicquant/experiments/method"
)

// System is a published system as sweep files ask for it.
type System struct {
	Name    string
	File    string // lines of a sweep file, beside model, texts and calibration
	Entry   string // of the registry, a method or transform, whose source this is
	Source  string // the paper or program, where it is another
	Departs string // where what runs differs from what was published
	Checked string // what it was compared with
}

// Systems are the published systems that methods, formats, transforms and settings
// of inputs make up, in the order of docs/systems.md.
var Systems = []System{
	{
		Name:    "RTN",
		Entry:   "rtn",
		File:    "methods: [{method: rtn, group: 128}]",
		Departs: "symmetric grids have 15 levels (±7), scales are half precision",
		Checked: "formulas, by hand",
	},
	{
		Name:    "GPTQ",
		Entry:   "gptq",
		File:    "methods: [{method: gptq, group: 128}]",
		Departs: "act-order with scales found beforehand is the default; symmetric grids of 15 levels",
		Checked: "auto_gptq on the same tensors (scripts/golden/published.py), and the algorithm in numpy (gptq.py)",
	},
	{
		Name:   "QuantEase",
		File:   "methods: [{method: gptq, group: 128, refine: 25}]",
		Source: "arXiv:2309.01885",
		Departs: "descent begins at GPTQ's codes and moves scales as well; no turn leaves weights unrounded; no outliers, " +
			"which SpQR has",
		Checked: "an error that never rises and ends where no other code helps (quant/mosaic/refine_test.go), not the authors' " +
			"code",
	},
	{
		Name:    "AWQ",
		File:    "methods: [{method: rtn, group: 128, scale: clip, awq: true}]",
		Source:  "arXiv:2306.00978",
		Departs: "the loss is the exact output error of each layer under H, not that of a block on sampled tokens",
		Checked: "losses and thresholds of autoawq (scripts/golden/published.py), and the search in numpy (formats.py)",
	},
	{
		Name: "SmoothQuant",
		File: "activations: a8\n" +
			"methods: [{method: rtn, group: row, format: int8, smoothing: 0.5, smoothing_sites: norms}]",
		Source:  "arXiv:2211.10438",
		Departs: "none that is known",
		Checked: "the authors' smooth.py (scripts/golden/published.py), and the formula in torch (smoothquant.py)",
	},
	{
		Name:   "SmoothQuant+",
		File:   "methods: [{method: rtn, group: 128, smoothing_search: global, smoothing_sites: norms}]",
		Source: "arXiv:2312.03788",
		Departs: "the loss is the sum of relative output errors of all layers on a sample of inputs, as no code of the " +
			"search is published; weights are rounded to nearest in it",
		Checked: "losses of all candidates in numpy (scripts/golden/smoothquant.py); the function is kept to 1e-5",
	},
	{
		Name: "Outlier Suppression+",
		File: "activations: a4\n" +
			"activations_group: row\n" +
			"activations_zero: asymmetric\n" +
			"methods: [{method: rtn, group: row, format: int4a, smoothing_search: threshold}]",
		Source: "arXiv:2304.09145",
		Departs: "no shifts, which models without biases cannot take up; thresholds fall by a factor, not by equal steps; " +
			"the loss is the relative output error of the layers that read the input, token by token, not that of " +
			"attention or of gate and up together",
		Checked: "losses of all candidates in numpy (scripts/golden/smoothquant.py); the function is kept to 1e-5",
	},
	{
		Name:    "SpQR",
		Entry:   "spqr",
		File:    "methods: [{method: spqr, format: int3b, outliers: 1%}]",
		Departs: "a share of outliers in place of a threshold, which is there too",
		Checked: "the authors' spqr_engine.py (scripts/golden/published.py)",
	},
	{
		Name:  "LLM.int8()",
		Entry: "llmint8",
		File: "activations: a8\n" +
			"methods: [{method: llmint8}]",
		Departs: "outlier channels are those of the calibration text, not of each batch",
		Checked: "int8_vectorwise_quant of bitsandbytes (scripts/golden/published.py)",
	},
	{
		Name:  "QUIK",
		Entry: "quik",
		File: "activations: a4\n" +
			"activations_group: row\n" +
			"activations_zero: asymmetric\n" +
			"methods: [{method: quik, columns: 6.25%}]",
		Departs: "channels of down_proj are a share of its width, as those of other layers",
		Checked: "dense algebra (quant/baseline/mixed_test.go), not the authors' code; formulas of inputs in numpy " +
			"(activations.py)",
	},
	{
		Name: "OWQ",
		File: "methods: [{method: quik, columns: 0.2%, columns_by: error, int8_down: false, format: int4a, group: row, " +
			"scale: mse}]",
		Source: "arXiv:2306.02272",
		Departs: "every layer keeps the same share, where the authors keep more in attention; the range of a row is " +
			"searched at 80 steps, not together with all zeros",
		Checked: "the score by hand and dense algebra (quant/baseline/mixed_test.go), not the authors' code",
	},
	{
		Name:  "Atom",
		Entry: "atom",
		File: "activations: a4\n" +
			"activations_clip: 0.9\n" +
			"methods: [{method: atom, columns: 3.125%}]",
		Departs: "weights are not clipped by a constant; every row has scales of its own; the order of channels is stored",
		Checked: "dense algebra (quant/baseline/mixed_test.go), not the authors' code",
	},
	{
		Name:  "SVDQuant",
		Entry: "svdquant",
		File: "activations: a4\n" +
			"methods: [{method: svdquant, rank: 32, group: 64, smoothing: 0.5}]",
		Departs: "the error is that of inputs in 16 bits; the branch reads the rounded input",
		Checked: "tests of its own (quant/baseline), not the authors' code",
	},
	{
		Name:    "any4",
		File:    "methods: [{method: rtn, format: any4, scale: hessian}]",
		Source:  "arXiv:2507.04610",
		Departs: "half precision in place of bfloat16; one start of k-means unless `restarts` asks for more",
		Checked: "the authors' quantize.py (scripts/golden/published.py), and scikit-learn (formats.py)",
	},
	{
		Name:    "any3, any2",
		File:    "methods: [{method: gptq, format: [any3, any2], scale: hessian}]",
		Source:  "arXiv:2507.04610",
		Departs: "as any4",
		Checked: "signal-to-noise ratios of simulations; otherwise as any4",
	},
	{
		Name:    "PowerQuant, NUPES",
		File:    "methods: [{method: gptq, format: power4, group: 64, scale: [mse, hessian]}]",
		Source:  "arXiv:2301.09858, arXiv:2308.05600",
		Departs: "the exponent is that of eleven with the least error for each layer; NUPES learns it with the network",
		Checked: "the rule in numpy (scripts/golden/integers.py)",
	},
	{
		Name:   "HQQ",
		File:   "methods: [{method: rtn, format: hqq4, group: 64}]",
		Source: "mobiusml/hqq (Apache-2.0)",
		Departs: "the zeros of least mean error are kept, where the code keeps those of one turn later; scales and zeros " +
			"are half precision from the start",
		Checked: "the solver in numpy (scripts/golden/integers.py)",
	},
	{
		Name: "FireQ",
		File: "activations: fp8\n" +
			"methods: [{method: gptq, format: fireq4, group: 128, smoothing: 0.5}]",
		Source: "arXiv:2505.20839",
		Departs: "codes are ±7; channels are smoothed by SmoothQuant's rule, as the formulas could not be read; scales of " +
			"inputs are float32; the cache stays in 16 bits",
		Checked: "the rule in numpy and ml_dtypes (scripts/golden/integers.py)",
	},
	{
		Name: "QRazor",
		File: "activations: a4\n" +
			"activations_group: 16\n" +
			"methods: [{method: rtn, format: sdr4, group: 16}]",
		Source: "arXiv:2501.13331",
		Departs: "weights alone are razored; codes are rounded to nearest, which could not be verified; inputs are plain " +
			"integers of 4 bits",
		Checked: "the rule in numpy (scripts/golden/integers.py); signal-to-noise ratio of a simulation",
	},
	{
		Name:    "QLoRA's NF4",
		File:    "methods: [{method: rtn, format: [nf4, nf4dq], group: 64}]",
		Source:  "arXiv:2305.14314",
		Departs: "none that is known",
		Checked: "bitsandbytes (scripts/golden/formats.py)",
	},
	{
		Name: "MXFP4",
		File: "activations: mxfp4\n" +
			"methods: [{method: rtn, format: mxfp4, scale: [absmax, ceil]}]",
		Source:  "OCP Microscaling Formats 1.0",
		Departs: "none that is known",
		Checked: "torchao (scripts/golden/published.py), ml_dtypes (formats.py, activations.py)",
	},
	{
		Name: "NVFP4, four over six",
		File: "activations: nvfp4\n" +
			"methods: [{method: rtn, format: nvfp4, scale: [absmax, foursix]}]",
		Source:  "arXiv:2512.02010",
		Departs: "the scale above those of groups is one per token for inputs, in place of one for the tensor",
		Checked: "torchao (scripts/golden/published.py), ml_dtypes (formats.py, activations.py)",
	},
	{
		Name: "IF4",
		File: "activations: [a16, nvfp4]\n" +
			"methods: [{method: gptq, format: if4}]",
		Source:  "arXiv:2603.28765",
		Departs: "inputs have no IF4; codes are ranks of levels",
		Checked: "the rule in numpy and ml_dtypes (scripts/golden/integers.py)",
	},
	{
		Name: "MXINT4, NVINT4",
		File: "transform: [none, block-hadamard]\n" +
			"methods: [{method: gptq, format: [mxint4, nvint4]}]",
		Source:  "arXiv:2510.25602, arXiv:2512.02010",
		Departs: "none that is known",
		Checked: "numpy and ml_dtypes (scripts/golden/integers.py); signal-to-noise ratios of simulations",
	},
	{
		Name:    "ParetoQ's SEQ",
		File:    "methods: [{method: gptq, format: seq4, group: 64, scale: [absmax, mse]}]",
		Source:  "arXiv:2502.02631",
		Departs: "the grid alone, rounded to after training; its range is searched, not learned",
		Checked: "the rule in numpy (scripts/golden/integers.py); signal-to-noise ratios of simulations",
	},
	{
		Name: "QoQ",
		File: "activations: a8\n" +
			"methods: [{method: gptq, format: qoq4, group: 128, smoothing: 0.5}]",
		Source: "arXiv:2405.04532",
		Departs: "codes are the nearest to weights, which are not rounded to int8 first; the pipeline's rotation, order of " +
			"channels and smoothing of keys are settings or not there; the cache stays in 16 bits",
		Checked: "the rule in numpy (scripts/golden/integers.py); every code times its multiple is within int8, " +
			"after GPTQ and refinement",
	},
	{
		Name: "DGQ",
		File: "activations: a8\n" +
			"activations_scale: static\n" +
			"methods: [{method: rtn, format: qoq4, group: 128, scale: hessian, smoothing: 0.5}]",
		Source: "arXiv:2310.04836",
		Departs: "ranges of groups are searched by errors weighted by h; the step of a row is its largest weight over 119, " +
			"not searched; channels of down_proj are smoothed as all others",
		Checked: "as QoQ, not the authors' code",
	},
	{
		Name: "MXINT8, MXFP8",
		File: "activations: mxfp8\n" +
			"methods: [{method: rtn, format: [mxint8, mxfp8], scale: [absmax, ceil]}]",
		Source:  "OCP Microscaling Formats 1.0",
		Departs: "none that is known; inputs have no MXINT8",
		Checked: "numpy and ml_dtypes (scripts/golden/integers.py, activations.py); signal-to-noise ratios of simulations",
	},
	{
		Name: "MXFP6, FP8 in E5M2",
		File: "methods: [{method: rtn, format: [mxfp6, mxfp6e2m3], scale: [absmax, ceil]}, " +
			"{method: rtn, format: fp8e5m2, group: row}]",
		Source:  "OCP Microscaling Formats 1.0",
		Departs: "inputs have neither",
		Checked: "ml_dtypes (scripts/golden/integers.py); signal-to-noise ratios of simulations",
	},
	{
		Name:    "FP6-LLM, ZeroQuant(4+2)",
		File:    "methods: [{method: rtn, format: [fp6, fp6e2m3], group: row}]",
		Source:  "arXiv:2401.14112, arXiv:2312.08583",
		Departs: "codes are packed as a string of 6 bits, not as planes of 4 and 2",
		Checked: "ml_dtypes (scripts/golden/integers.py); signal-to-noise ratios of simulations",
	},
	{
		Name: "FP8 weights and inputs",
		File: "activations: fp8\n" +
			"methods: [{method: rtn, format: fp8, group: row}]",
		Source:  "OCP 8-bit Floating Point Specification",
		Departs: "scales of weights are half precision, one for each row",
		Checked: "ml_dtypes (scripts/golden/integers.py, activations.py)",
	},
	{
		Name: "Integer Scale",
		File: "activations: a8\n" +
			"methods: [{method: gptq, format: intscale4, group: 128}]",
		Source:  "arXiv:2405.14597",
		Departs: "scales are rounded before codes are found, and have 16 bits; the rule is ours where 1024 is too little",
		Checked: "the rule in numpy, and products in whole numbers (scripts/golden/integers.py)",
	},
	{
		Name: "OdysseyLLM",
		File: "activations: a8\n" +
			"methods: [{method: gptq, group: row, scale: mse}]",
		Source:  "arXiv:2311.09550",
		Departs: "clipping is searched, not learned; the layout of its kernel is not there",
		Checked: "as GPTQ",
	},
	{
		Name: "W4A8 with FP8 inputs",
		File: "activations: fp8\n" +
			"methods: [{method: gptq, group: 128}]",
		Source:  "LightCompress, rtn_w_a_wint4afp8",
		Departs: "weights are plain int4; the recipe has int8 rows under uint4 groups",
		Checked: "ml_dtypes (scripts/golden/activations.py)",
	},
	{
		Name:  "QuaRot",
		Entry: "quarot",
		File: "transform: quarot\n" +
			"activations: a4\n" +
			"activations_group: row\n" +
			"activations_clip: 0.9\n" +
			"methods: [{method: gptq, group: row, scale: mse}]",
		Departs: "the mean of the embedding is not subtracted, which would change the function; keys are not turned, as " +
			"the cache is not quantized; symmetric inputs end at ±7; where no Hadamard matrix has the order (9 " +
			"heads), a stored random orthogonal factor takes its place",
		Checked: "Hadamard matrices: scipy's and Paley's in numpy (scripts/golden/rotations.py); the function is kept to " +
			"1e-5 of the largest logit; QuaRot's formulas of inputs (scripts/golden/activations.py)",
	},
	{
		Name:  "MR-GPTQ",
		Entry: "block-hadamard",
		File: "transform: block-hadamard\n" +
			"transform_block: 128\n" +
			"activations: [mxfp4, nvfp4]\n" +
			"methods: [{method: gptq, format: mxfp4, scale: mse, only: {activations: mxfp4}}, " +
			"{method: gptq, format: nvfp4, scale: mse, only: {activations: nvfp4}}]",
		Departs: "the search for scales is by squared error of what is stored, where the authors take the power 2.4 before " +
			"scales are rounded; q, k and v need not share a tensor scale",
		Checked: "scipy's Hadamard matrices; formats as above; the function is kept to 1e-5",
	},
	{
		Name:  "DuQuant",
		Entry: "duquant",
		File: "transform: duquant\n" +
			"activations: a4\n" +
			"activations_group: row\n" +
			"activations_zero: asymmetric\n" +
			"activations_clip: 0.9\n" +
			"methods: [{method: rtn, group: row, format: int4a}]",
		Departs: "the greedy step takes the channel of the largest entry, as the paper says, where the code takes its " +
			"token; layers of a site share their matrices, in half precision, counted; all inputs are smoothed; " +
			"weights are not clipped by .8",
		Checked: "the authors' quantizer.py, read anew in numpy, with channels and with tokens " +
			"(scripts/golden/rotations.py); the function is kept to 1e-5",
	},
	{
		Name:  "KurTail",
		Entry: "kurtail",
		File: "transform: kurtail\n" +
			"transform_seed: [1, 2, 3]\n" +
			"activations: a4\n" +
			"activations_group: row\n" +
			"methods: [{method: gptq, group: row}]",
		Departs: "the schedule could not be read: 100 Cayley steps on 64 tokens of each site, rate 1.5 falling as a " +
			"cosine, as SpinQuant's",
		Checked: "the gradient by differences; kurtosis of known distributions; the step keeps a matrix orthogonal; the " +
			"function is kept to 1e-5. No code is published",
	},
	{
		Name:  "SpinQuant",
		Entry: "spinquant",
		File: "transform: spinquant\n" +
			"transform_seed: [1, 2, 3]\n" +
			"activations: a4\n" +
			"activations_group: row\n" +
			"activations_zero: asymmetric\n" +
			"methods: [{method: gptq, group: row, scale: mse}]",
		Departs: "each of the 100 steps sees 1024 tokens of the calibration text, the authors' 16384 of WikiText-2; inputs " +
			"have the trial's format while rotations are learned, with scales found at run time; the cache is not quantized, " +
			"neither in learning nor after it, so that keys are not turned; a step of Newton's iteration keeps matrices " +
			"orthogonal, where the code draws when to take a QR factorization",
		Checked: "loss and gradient by torch's autograd through transformers' LLaMA, Qwen2, Qwen3 and Mistral " +
			"(scripts/golden/spinquant.py), and by differences of an independent loss in float64; the function is kept " +
			"to 1e-5. Not the authors' code, which is for " +
			"non-commercial use alone",
	},
	{
		Name:  "ResQ",
		Entry: "resq",
		File: "transform: resq\n" +
			"activations: a4\n" +
			"activations_group: row\n" +
			"activations_zero: asymmetric\n" +
			"methods: [{method: atom, columns: 12.5%, group: row}]",
		Departs: "the channels in 8 bits are those of largest energy, which after the transform are the last eighth; " +
			"down_proj keeps an eighth too, where the authors have none; heads of a layer share their basis; keys " +
			"are not turned",
		Checked: "numpy's eigenvalues (scripts/golden/rotations.py); the function is kept to 1e-5",
	},
	{
		Name: "COMET",
		File: "activations: a4\n" +
			"activations_wide: 16%\n" +
			"methods: [{method: gptq, group: 128}]",
		Source: "arXiv:2410.12168",
		Departs: "the criterion could not be read: channels are ranked by their largest input; wide ones share one scale " +
			"of a token; weights are GPTQ's; the cache stays in 16 bits",
		Checked: "the rule in numpy (scripts/golden/activations.py)",
	},
	{
		Name: "PrefixQuant",
		File: "prefix: outliers\n" +
			"transform: quarot\n" +
			"activations: a8\n" +
			"activations_scale: searched\n" +
			"methods: [{method: gptq, group: row, scale: mse}]",
		Source: "arXiv:2410.05265",
		Departs: "tokens are found on 4096 tokens of the calibration text, and scales of inputs on 256; the cache is not " +
			"quantized; blocks are not trained; where no token is an outlier, the token that begins sequences is the " +
			"prefix",
		Checked: "the authors' get_prefixed_tokens, read anew in numpy (scripts/golden/prefix.py); a sequence after a " +
			"prefix is the rest of a longer one (internal/llm)",
	},
	{
		Name:  "QTIP",
		Entry: "trellis",
		File: "transform: quarot\n" +
			"methods: [{method: trellis, trellis_code: [1mad, 3inst], trellis_length: 16}]",
		Departs: "inputs are turned by the transform of the model, outputs of layers are not: rows have scales; nothing " +
			"is fine-tuned; no HYB code",
		Checked: "values of states as published; brute force over all paths; SNR of random tables; LDLQ by dense algebra",
	},
	{
		Name: "EXL3",
		File: "transform: quarot\n" +
			"methods: [{method: trellis, trellis_code: mul1, trellis_length: 16}]",
		Source:  "exllamav3 (MIT)",
		Departs: "as QTIP; inputs have no scales of channels; Hadamard blocks of 128 are block-hadamard",
		Checked: "values of states as in exllamav3; otherwise as QTIP",
	},
	{
		Name:  "VPTQ",
		Entry: "vptq",
		File:  "methods: [{method: vptq, vector: 2}, {method: vptq, vector: 4, vector_bits: 3, second_codebook: 4}]",
		Departs: "k-means starts from k-means++ on a sample and ends by its error; rows have scales, where the authors take " +
			"mean and deviation of columns; no columns have a codebook of their own for being outliers; a weight takes a " +
			"whole number of bits; codebooks of up to 2^12 vectors; nothing is fine-tuned",
		Checked: "the authors' vptq.py and quantizer.py from the same start of k-means: every weight (scripts/golden/vptq.py); " +
			"signal-to-noise ratios of Lloyd and Max, and of Zador's formula",
	},
	{
		Name:  "GOBO",
		Entry: "gobo",
		File:  "methods: [{method: gobo, centroid_bits: [3, 4]}]",
		Departs: "outliers have 16 bits and an index as SpQR's, not 32; embeddings stay as they are; no code is published, " +
			"so that the rule of outliers and the end of k-means are as the paper tells them",
		Checked: "the paper's rules in numpy (scripts/golden/gobo.py)",
	},
	{
		Name:  "OliVe",
		Entry: "olive",
		File:  "methods: [{method: olive, group: [row, 64]}]",
		Departs: "borders between normal weights and outliers are half precision; groups are ours; inputs have no pairs, and " +
			"are rounded as `activations` says",
		Checked: "the authors' quant_modules.py: borders, choice of levels and every weight (scripts/golden/olive.py)",
	},
	{
		Name:  "AdaDim",
		Entry: "adadim",
		File:  "methods: [{method: adadim, base: [rtn, gptq], group: 128}]",
		Departs: "groups are chosen by the error of the layer's output, exact under H, not by that of attention or of gate and " +
			"up together; grids span 0",
		Checked: "the authors' quantizer.py and gptq.py in groups along outputs: every weight (scripts/golden/adadim.py); " +
			"groups along inputs as GPTQ",
	},
	{
		Name:   "CLAQ",
		File:   "methods: [{method: vptq, vector: 1, codebook_columns: 1, row_scales: false}]",
		Source: "arXiv:2405.17233",
		Departs: "tables are fitted to the columns of W before GPTQ's loop, and weighted by h; columns have equal bits, and " +
			"no outliers are kept, which spqr has",
		Checked: "as VPTQ, not the authors' code",
	},
	{
		Name:    "MosaicQuant",
		File:    "methods: [{method: mosaic, density: 10%, block: 16x64}]",
		Source:  "arXiv:2606.15652",
		Departs: "as README says",
		Checked: "criteria and joint residuals by dense algebra (quant/mosaic)",
	},
}

// LeftOut are systems and parts of systems that are not here, and why.
var LeftOut = []struct{ Name, Why string }{
	{"FlatQuant",
		"its matrices are not orthogonal, and are learned block by block together with what weights are clipped to, " +
			"through gradients of rounded weights; those of internal/llm/grad are of rotations, with weights in 16 bits"},
	{"QuIP# (E8P)",
		"a trellis is above it at every number of bits; its code needs tables of its own"},
	{"GPTAQ",
		"it needs the inputs that the quantized layers before give, beside those of the 16-bit model, which are all that " +
			"calibration sees here"},
	{"GWQ",
		"its budget goes by gradients of the loss by each weight; those that are there are of rotations"},
	{"EWQ, DMMV",
		"their constants and heuristic could not be read; `layers` gives layers other bits by hand"},
	{"QLLM",
		"split channels widen the inputs of a layer beyond its form, and merged ones need low-rank training of the weights " +
			"to lose little; no gradient of a weight is formed here"},
	{"MixQ",
		"at 8 bits its channels are those of the first inputs that the running model sees, which a calibration does not " +
			"give, and their weights stay int8, which no column kept apart has; at 4 bits it is QUIK's row by rounding to " +
			"nearest, with 128 channels in every layer and scales of max/10"},
	{"SqueezeLLM",
		"its weights of sensitivity are squared gradients of the loss by each weight, summed over samples; those that are " +
			"there are of rotations. any4 with scale: hessian has the inputs' share of them"},
	{"KIVI, GEAR, MILLION, RotateKV",
		"formats of the cache of keys and values, which stays in 16 bits here"},
	{"ParetoQ and other training",
		"learned with the network, over billions of tokens"},
}

// WriteSystems writes the page of systems as Markdown.
func WriteSystems(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Systems of the field\n\n" +
		"A system is a method, a format, a change of basis and a format of inputs, each a setting of its own, so that\n" +
		"each can be compared with the others held. The lines are those of a sweep file, beside model, texts and\n" +
		"calibration. [keys.md](keys.md) explains them. A test holds this page to the registry.\n")
	for _, s := range Systems {
		fmt.Fprintf(&b, "\n## %s\n\n```yaml\n%s\n```\n\n", s.Name, s.File)
		source := s.Source
		if source == "" {
			source = s.registered()
		}
		if source != "" {
			fmt.Fprintf(&b, "- Source: %s\n", source)
		}
		fmt.Fprintf(&b, "- Departs: %s.\n- Checked against: %s.\n", s.Departs, s.Checked)
	}
	b.WriteString("\n## Left out\n\n| system | why |\n|---|---|\n")
	for _, l := range LeftOut {
		fmt.Fprintf(&b, "| %s | %s |\n", l.Name, l.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// registered is what the registry says of the source of s.
func (s System) registered() string {
	if t := TransformOf(s.Entry); t != nil {
		return t.Source
	}
	if m := method.Find(s.Entry); m != nil {
		return m.Source
	}
	return ""
}

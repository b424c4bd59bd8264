package bench

// CUDAStatus tells doctor about the device of engine cuda, in lines: what it is,
// or why the CPU runs in its place.
var CUDAStatus = func() []string {
	return []string{"this program was built without it (go build -tags cuda, see scripts/cuda-env)"}
}

//go:build !(cuda && linux && cgo)

package bench

func enginesOfBuild() map[string]func() (Engine, error) {
	return map[string]func() (Engine, error){"cpu": newCPU}
}

// CUDAStatus describes the engine cuda for doctor, in lines: why the CPU runs in its
// place.
func CUDAStatus() []string {
	return []string{"this program was built without it (go build -tags cuda, see scripts/cuda-env)"}
}

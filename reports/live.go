package reports

import (
	_ "embed"
	"fmt"

	"github.com/mosaicquant/mosaicquant/reports/format"
)

// Live is how far the sweep behind a page that is served has come. Such a page
// asks its server for "progress" every few seconds (an object whose "version"
// is Version) and loads itself again once the version has changed.
type Live struct {
	Version  string `json:"version"`
	Finished int    `json:"finished"` // trials with a row, failed ones included
	Failed   int    `json:"failed"`
	Planned  int    `json:"planned"` // 0 = unknown
}

// String says it in words.
func (l Live) String() string {
	text := format.Plural(l.Finished, "trial", "trials") + " finished"
	if l.Planned > 0 {
		text = fmt.Sprintf("%d of %s finished", l.Finished, format.Plural(l.Planned, "trial", "trials"))
	}
	if l.Failed > 0 {
		text += fmt.Sprintf(", %d of them failed", l.Failed)
	}
	return text
}

//go:embed live.js
var liveScript string

// Package plan turns a sweep file into trials: YAML -> Sweep -> []Trial. It is
// pure: bytes in, values out. It opens no file and knows no model, so a
// file that it accepts can still fail later, but a file that it refuses is refused before
// any work is done, with file, line, field and value.
//
// Every setting of a trial is one row of the table in keys.go: its name, kind,
// default, range, and when it matters. Lists in a sweep file are swept as a
// product; settings that do not matter for a combination (the damping of an
// RTN base) are dropped before duplicates are removed.
package plan

package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Setting is the name of a setting that an error of a later stage is about: model,
// protocol.text, calibration.text, calibration.tokens or tasks.
type Setting interface {
	error
	Setting() string
}

// settingError is err about the setting of that name.
type settingError struct {
	name string
	err  error
}

func (e *settingError) Error() string   { return e.err.Error() }
func (e *settingError) Unwrap() error   { return e.err }
func (e *settingError) Setting() string { return e.name }

// AboutSetting returns err as one that tells which setting it is about; nil stays nil.
func AboutSetting(name string, err error) error {
	if err == nil {
		return nil
	}
	return &settingError{name, err}
}

// Locate adds the file, line and name of the setting that err is about, where it is
// about one of this file.
func (s *Sweep) Locate(err error) error {
	var about Setting
	if !errors.As(err, &about) {
		return err
	}
	name := about.Setting()
	line := s.source.tasksLine
	if name != "tasks" {
		i := slices.IndexFunc(s.source.common.settings, func(s *setting) bool { return s.key.axis() == name })
		if i < 0 {
			return err
		}
		line = s.source.common.settings[i].line
	}
	if line == 0 { // the setting has its default
		return err
	}
	if strings.HasPrefix(err.Error(), name) {
		return fmt.Errorf("%s: %w", s.source.where(line), err)
	}
	return fmt.Errorf("%s: %s: %w", s.source.where(line), name, err)
}

// LocateMethod adds the file, line and label of the trial t, whose method err is about.
func (s *Sweep) LocateMethod(t *Trial, err error) error {
	line := s.source.lines[t.Label]
	return fmt.Errorf("%s: %s: %w", s.source.where(line), t.Label, err)
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// session is a page in a browser that is driven by Chromium's protocol for developer
// tools, over a pair of pipes: messages are JSON that ends with a zero byte.
type session struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *bufio.Reader
	id     int    // of the last message
	target string // session ID of the page

	console []string // errors that the page has reported
}

// message is one to or from the browser.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// open starts the browser without a network and loads the page.
func (c chromium) open(page string) (s *session, err error) {
	profile, err := os.MkdirTemp(c.tmp, "profile-")
	if err != nil {
		return nil, err
	}
	toRead, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, fromWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, c.path, append(offline(profile), "--remote-debugging-pipe", "about:blank")...)
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // files 3 and 4, as the browser wants
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Start()
	toRead.Close()
	fromWrite.Close()
	if err != nil {
		cancel()
		return nil, err
	}
	s = &session{cmd: cmd, cancel: cancel, in: to, out: bufio.NewReaderSize(from, 1<<20)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var made struct {
		TargetID  string `json:"targetId"`
		SessionID string `json:"sessionId"`
	}
	if err := s.call("Target.createTarget", object{"url": "about:blank"}, &made); err != nil {
		return nil, err
	}
	if err := s.call("Target.attachToTarget", object{"targetId": made.TargetID, "flatten": true}, &made); err != nil {
		return nil, err
	}
	s.target = made.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		if err := s.call(domain+".enable", nil, nil); err != nil {
			return nil, err
		}
	}
	if err := s.size(1280, 900); err != nil {
		return nil, err
	}
	return s, s.navigate(page)
}

// navigate loads a file.
func (s *session) navigate(page string) error {
	if err := s.call("Page.navigate", object{"url": "file://" + page}, nil); err != nil {
		return err
	}
	return s.until("the page is loaded", `document.readyState === "complete" && location.protocol === "file:"`)
}

// drawn waits for the charts, where the page carries their script.
func (s *session) drawn() error {
	return s.until("the charts are drawn", `document.body.dataset.charts !== undefined || Array.from(
		document.querySelectorAll("figure")).every(f => !f.querySelector("script") || f.dataset.drawn)`)
}

// patience is how long the browser may take for one thing, on a busy machine.
const patience = time.Minute

// until waits until an expression is true.
func (s *session) until(what, expression string) error {
	for start := time.Now(); time.Since(start) < patience; time.Sleep(50 * time.Millisecond) {
		var done bool
		if err := s.eval(expression, &done); err != nil {
			return err
		}
		if done {
			return nil
		}
	}
	return fmt.Errorf("waited %v until %s", patience, what)
}

type object = map[string]any

func (s *session) close() {
	s.cancel()
	s.in.Close()
	s.cmd.Wait()
}

// call sends a message and decodes the answer into result, which may be nil.
func (s *session) call(method string, params, result any) error {
	s.id++
	data, err := json.Marshal(message{ID: s.id, Session: s.target, Method: method, Params: params})
	if err != nil {
		return err
	}
	if _, err := s.in.Write(append(data, 0)); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	for {
		data, err := s.out.ReadBytes(0)
		if err != nil {
			return fmt.Errorf("%s: the browser is gone: %w", method, err)
		}
		var m message
		if err := json.Unmarshal(data[:len(data)-1], &m); err != nil {
			return err
		}
		s.note(m)
		if m.ID != s.id {
			continue
		}
		if m.Error != nil {
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	}
}

// note keeps what the page reports as an error.
func (s *session) note(m message) {
	text, _ := json.Marshal(m.Params)
	switch m.Method {
	case "Runtime.exceptionThrown":
		s.console = append(s.console, string(text))
	case "Log.entryAdded":
		var p struct {
			Entry struct{ Source, Level, Text string }
		}
		// without a network the script of the charts does not load, as it should
		if json.Unmarshal(text, &p) == nil && p.Entry.Level == "error" && p.Entry.Source != "network" {
			s.console = append(s.console, p.Entry.Text)
		}
	}
}

// eval evaluates an expression in the page and decodes its value.
func (s *session) eval(expression string, value any) error {
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	if err := s.call("Runtime.evaluate", object{"expression": expression, "returnByValue": true}, &r); err != nil {
		return err
	}
	if r.Exception != nil {
		return fmt.Errorf("%.60s: %s", expression, r.Exception.Exception.Description)
	}
	if value == nil || r.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, value)
}

// size sets the size of the window.
func (s *session) size(width, height int) error {
	return s.call("Emulation.setDeviceMetricsOverride",
		object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// click scrolls the element that the expression gives into sight and presses the mouse
// on it, where a person would. It is an error if something else lies above it there.
func (s *session) click(element string) error {
	var at struct {
		X, Y  float64
		Above string
	}
	err := s.eval(`(() => {
		const e = `+element+`;
		if (!e) throw new Error("there is nothing to click");
		e.scrollIntoView({block: "center", inline: "center"});
		const r = e.getClientRects()[0] || e.getBoundingClientRect();
		const x = r.x + Math.min(r.width / 2, 20), y = r.y + r.height / 2;
		const top = document.elementFromPoint(x, y);
		const free = top && (e.contains(top) || top.contains(e));
		return {X: x, Y: y, Above: free ? "" : (top ? top.outerHTML.slice(0, 120) : "nothing")};
	})()`, &at)
	if err != nil {
		return err
	}
	if at.Above != "" {
		return fmt.Errorf("a click at %v, %v meets %s", at.X, at.Y, at.Above)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		err := s.call("Input.dispatchMouseEvent",
			object{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// write types text into the element that has the focus.
func (s *session) write(text string) error {
	return s.call("Input.insertText", object{"text": text}, nil)
}

// key presses a key with a name, such as ArrowRight.
func (s *session) key(name string, code int) error {
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		err := s.call("Input.dispatchKeyEvent",
			object{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// pdf prints the page on A4.
func (s *session) pdf() ([]byte, error) {
	var r struct{ Data []byte }
	err := s.call("Page.printToPDF", object{"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": true}, &r)
	return r.Data, err
}

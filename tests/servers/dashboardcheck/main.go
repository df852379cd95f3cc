// Command dashboardcheck says what in Grafana dashboards isn't as Grafana's own schema has it: a field that it doesn't know or that is
// missing, a value of the wrong type, a type of panel or a unit that there isn't. The schema is that of Grafana's foundation SDK, whose Go
// types are generated from Grafana's sources.
//
//	dashboardcheck FILE...
//
// Each fault is a line, and the exit code is 1 if there is one.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// The units that our dashboards have: the SDK knows all as constants, which can't be listed.
var known = map[string]bool{
	units.Short: true, units.NoUnit: true, units.Seconds: true, units.DurationSeconds: true,
	units.RequestsPerSecond: true, units.BytesIEC: true, units.DateTimeFromNow: true,
}

func main() {
	plugins.RegisterDefaultPlugins()
	faulty := false
	for _, file := range os.Args[1:] {
		for _, fault := range check(file) {
			fmt.Printf("%s: %s\n", file, fault)
			faulty = true
		}
	}
	if faulty {
		os.Exit(1)
	}
}

func check(file string) []string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	tell := func(place string, err error) {
		// The SDK's "no error" is an empty list of them, which isn't nil.
		if err == nil || err.Error() == "" {
			return
		}
		for _, fault := range strings.Split(err.Error(), "\n") {
			faults = append(faults, place+fault)
		}
	}
	say := func(err error) { tell("", err) }
	var board dashboard.Dashboard
	say(board.UnmarshalJSONStrict(raw))
	say(board.Validate())

	// The SDK is lenient in these places.
	var loose struct {
		Panels []struct {
			Title       string          `json:"title"`
			Type        string          `json:"type"`
			FieldConfig json.RawMessage `json:"fieldConfig"`
		} `json:"panels"`
	}
	say(json.Unmarshal(raw, &loose))
	for _, panel := range loose.Panels {
		about := func(err error) { tell(fmt.Sprintf("panel %q: ", panel.Title), err) }
		if _, there := cog.ConfigForPanelcfgVariant(panel.Type); !there && panel.Type != "row" {
			about(fmt.Errorf("there is no type of panel %q", panel.Type))
		}
		if panel.FieldConfig == nil {
			continue
		}
		var config dashboard.FieldConfigSource
		about(config.UnmarshalJSONStrict(panel.FieldConfig))
		about(unit(config.Defaults.Unit))
		for _, override := range config.Overrides {
			for _, property := range override.Properties {
				if name, is := property.Value.(string); is && property.Id == "unit" {
					about(unit(&name))
				}
			}
		}
	}
	for _, panel := range board.Panels {
		if panel.Panel == nil {
			continue
		}
		for _, target := range panel.Panel.Targets {
			if _, is := target.(prometheus.Dataquery); !is {
				if _, is := target.(*prometheus.Dataquery); !is {
					say(fmt.Errorf("panel %q: a query of no known data source: %T", *panel.Panel.Title, target))
				}
			}
		}
	}
	return faults
}

func unit(name *string) error {
	if name == nil {
		return errors.New("it has no unit")
	}
	if !known[*name] {
		return fmt.Errorf("no dashboard has had the unit %q yet: look it up in the SDK's package units, and add it to dashboardcheck", *name)
	}
	return nil
}

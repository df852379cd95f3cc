// Command oracle evaluates formulas with Go's expr, the library that KEDA uses, and prints what it makes of them.
//
// It reads formulas.txt (a formula a line; blank lines and lines that begin with // are left out) and writes vectors.json.
// Run it in its own folder after a change of formulas.txt: go run . ../formulas.txt > ../vectors.json
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/expr-lang/expr"
)

// What the triggers answer in each row. A trigger that is missing from a row answers nothing (nil).
var rows = []map[string]any{
	{"a": 0.0, "b": 0.0, "c": 0.0},
	{"a": 1.0, "b": 2.0, "c": 3.5},
	{"a": 10.5, "b": -4.0, "c": 100.0},
	{"b": 5.0, "c": 7.0},
	{"c": 7.0},
	{},
}

type vector struct {
	Formula string `json:"formula"`
	// Why it does not compile, or fails with -1 for every trigger; empty where it is accepted.
	Refused string `json:"refused,omitempty"`
	// A number, "nil", "not a number" or "error" for each row.
	Results []any `json:"results,omitempty"`
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var vectors []vector
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		vectors = append(vectors, evaluate(line))
	}
	fmt.Println("[")
	for i, v := range vectors {
		row, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		comma := ","
		if i == len(vectors)-1 {
			comma = ""
		}
		fmt.Printf("  %s%s\n", row, comma)
	}
	fmt.Println("]")
}

func evaluate(formula string) vector {
	samples := map[string]float64{"a": -1, "b": -1, "c": -1}
	program, err := expr.Compile(asFloat(formula), expr.Env(samples))
	if err == nil {
		_, err = expr.Run(program, samples)
	}
	if err != nil {
		return vector{Formula: formula, Refused: strings.SplitN(err.Error(), "\n", 2)[0]}
	}
	v := vector{Formula: formula}
	for _, row := range rows {
		result, err := expr.Run(program, row)
		switch number := result.(type) {
		case float64:
			if math.IsNaN(number) || math.IsInf(number, 0) {
				v.Results = append(v.Results, "not a number")
			} else {
				v.Results = append(v.Results, number)
			}
		default:
			if err != nil || result != nil {
				v.Results = append(v.Results, "error")
			} else {
				v.Results = append(v.Results, "nil")
			}
		}
	}
	return v
}

// KEDA makes a float of a formula's result, unless it may be nil.
func asFloat(formula string) string {
	if strings.Contains(formula, "??") {
		return "let result = (" + formula + "); result == nil ? nil : float(result)"
	}
	return "float(" + formula + ")"
}

//go:build !linux && !darwin

package main

func checkAddressSpace() error { return nil }

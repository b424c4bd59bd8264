module github.com/mosaicquant/mosaicquant

go 1.25.0

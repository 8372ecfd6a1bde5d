// Package model checks delivery.pml, a model of one delivery in Promela, with spin.
// README.md says what each guard of the model stands for in the code.
package model

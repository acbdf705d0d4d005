// A goroutine per VM: dial its serial socket, io.Copy into its log.
//
// Its argument is a file with a line "socket TAB log" per VM. It runs until it is killed.
package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"os"
	"strings"
)

func main() {
	list, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		socket, path, _ := strings.Cut(lines.Text(), "\t")
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			log.Fatal(err)
		}
		console, err := net.Dial("unix", socket)
		if err != nil {
			log.Fatal(err)
		}
		go collect(console, file)
	}
	select {}
}

func collect(console net.Conn, file *os.File) {
	defer console.Close()
	defer file.Close()
	if _, err := io.Copy(file, console); err != nil {
		log.Print(err)
	}
}

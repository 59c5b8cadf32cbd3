#!/usr/bin/perl
# Gives a safetensors file one tensor more, with the bytes of another.
#
# usage: repeat_tensor.pl FILE NAME OF [CHANGED]     CHANGED: the first byte of the new one is another
use strict;
use warnings;
use JSON::PP;

@ARGV >= 3 or die "usage: repeat_tensor.pl FILE NAME OF [CHANGED]\n";
my ($path, $name, $of, $changed) = @ARGV;
open(my $in, '<:raw', $path) or die "$path: $!\n";
local $/;
my $bytes = <$in>;
close $in;
my $n = unpack('Q<', $bytes);
my $json = JSON::PP->new->canonical;
my $header = $json->decode(substr($bytes, 8, $n));
my $data = substr($bytes, 8 + $n);
my $old = $header->{$of} or die "$path: no tensor $of\n";
my ($begin, $end) = @{$old->{data_offsets}};
my $copy = substr($data, $begin, $end - $begin);
substr($copy, 0, 1) = chr(ord(substr($copy, 0, 1)) ^ 1) if $changed;
$header->{$name} = { %$old, data_offsets => [length $data, length($data) + length $copy] };
my $text = $json->encode($header);
$text .= ' ' x (-length($text) % 8);
open(my $out, '>:raw', $path) or die "$path: $!\n";
print $out pack('Q<', length $text), $text, $data, $copy;
close $out or die "$path: $!\n";

#!/usr/bin/perl
# list_tensors.pl FILE.safetensors: name, type, shape and SHA-256 of the bytes of every tensor, by name.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use JSON::PP;

open my $in, '<:raw', $ARGV[0] or die "$ARGV[0]: $!\n";
local $/;
my $all = <$in>;
my $n = unpack 'Q<', $all;
my $header = decode_json(substr $all, 8, $n);
for my $name (sort keys %$header) {
	next if $name eq '__metadata__';
	my $t = $header->{$name};
	my ($from, $to) = @{ $t->{data_offsets} };
	print join("\t", $name, $t->{dtype}, join(',', @{ $t->{shape} }),
		sha256_hex(substr $all, 8 + $n + $from, $to - $from)), "\n";
}

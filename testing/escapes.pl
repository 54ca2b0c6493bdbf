#!/usr/bin/perl
# What the code of a build may try to get out of its container: first all that it is told of, then at random.
#
#   escapes.pl SEED SECONDS <WHAT
#
# WHAT has a line for each thing to try:
#
#   tcp ADDRESS PORT, udp ADDRESS PORT   something that may listen
#   public ADDRESS PORT                  what answers everybody
#   address ADDRESS                      a machine; all its ports may answer
#   name NAME PORT                       a host's name
#   socket PATH, abstract NAME           a Unix socket
#   file PATH                            what others may have there
#
# Prints "leak KIND WHERE MARK" for each mark that it gets at (testing/escapes.py has them where no build may
# get), "open KIND WHERE" for what a container must not be able to do, and last "tried KIND COUNT".
use strict;
use warnings;
use Cwd 'abs_path';
use Errno;
use Fcntl;
use Socket qw(:all);

my ($seed, $seconds) = @ARGV;
srand($seed);
$| = 1;
$SIG{PIPE} = 'IGNORE';
my $marked = qr/hhvm-escap[e]-[0-9a-f]{16}/;
our $wait = 0.2;
my (%tried, %told, %reported);

sub report {
    my $line = join ' ', @_;
    print "$line\n" unless $reported{$line}++;
}

sub look {
    my ($kind, $where, $content) = @_;
    report('leak', $kind, $where, $1) while $content =~ /($marked)/g;
}

sub one_of { $_[int rand @_] }

sub payload {
    my $path = one_of('/', '/latest/meta-data/', '/latest/meta-data/iam/security-credentials/', '/_ping',
        '/containers/json', '/api/v2/version', '/hhvm-scratch', '/execution/', '/metrics');
    return one_of(
        "GET $path HTTP/1.0\r\nHost: 169.254.169.254\r\nMetadata-Flavor: Google\r\n\r\n",
        "PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n",
        "PING\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f", join('', map { chr rand 256 } 1 .. 1 + rand 64));
}

# Connects, says something, and looks at the answer. Returns whether something listens.
sub talk {
    my ($kind, $where, $family, $type, $address) = @_;
    socket(my $socket, $family, $type, 0) or return;
    fcntl($socket, F_SETFL, O_NONBLOCK);
    my $ready = '';
    vec($ready, fileno $socket, 1) = 1;
    if (!connect($socket, $address)) {
        return unless $!{EINPROGRESS};
        return unless select(undef, my $writable = $ready, undef, $wait);
        return if unpack('i', getsockopt($socket, SOL_SOCKET, SO_ERROR));
    }
    syswrite($socket, payload());
    my ($content, $part) = ('', '');
    while (select(my $readable = $ready, undef, undef, $wait)) {
        last unless sysread($socket, $part, 4096);
        $content .= $part;
        last if length $content > 1 << 16;
    }
    look($kind, $where, $content);
    return 1;
}

sub at {
    my ($address, $port) = @_;
    return (AF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $address))) if $address =~ /:/;
    return (AF_INET, pack_sockaddr_in($port, inet_aton($address)));
}

my %try = (
    tcp => sub {
        my ($address, $port) = @_;
        my ($family, $packed) = at($address, $port);
        report('open', 'tcp', $address, $port)
          if talk('tcp', "$address:$port", $family, SOCK_STREAM, $packed) && grep { $_ eq $address } @{ $told{address} };
    },
    # However busy the machine is, this answers.
    public => sub {
        my ($address, $port) = @_;
        local $wait = 60;
        my ($family, $packed) = at($address, $port);
        talk('public', "$address:$port", $family, SOCK_STREAM, $packed);
    },
    udp => sub {
        my ($address, $port) = @_;
        my ($family, $packed) = at($address, $port);
        talk('udp', "$address:$port", $family, SOCK_DGRAM, $packed);
    },
    vsock => sub {
        my ($machine, $port) = @_;
        talk('vsock', "$machine:$port", 40, SOCK_STREAM, pack('SSLLx4', 40, 0, $port, $machine));
    },
    socket => sub {
        my ($path) = @_;
        report('open', 'socket', $path) if length $path < 108 && talk('socket', $path, AF_UNIX, SOCK_STREAM, pack_sockaddr_un($path));
    },
    abstract => sub {
        my ($name) = @_;
        report('open', 'abstract', $name) if talk('abstract', $name, AF_UNIX, SOCK_STREAM, pack('Sxa*', AF_UNIX, $name));
    },
    name => sub {
        my ($name, $port) = @_;
        my (undef, undef, undef, undef, @found) = gethostbyname($name) or return;
        talk('name', "$name:$port", AF_INET, SOCK_STREAM, pack_sockaddr_in($port, $_)) for @found;
    },
    file => sub {
        my ($path) = @_;
        return if $path =~ m{^/proc/(self|thread-self|$$)\b.*/(pagemap|mem)$};
        sysopen(my $file, $path, O_RDONLY | O_NONBLOCK) or return;
        sysread($file, my $content, 1 << 16) or return;
        look('file', $path, $content);
    },
    # Opened, not written: what is found open must not end this machine.
    write => sub {
        my $path = abs_path($_[0]) // return;
        return unless $path =~ m{^/(sys|proc/(sys|sysrq-trigger|kcore|irq|bus|fs|acpi|scsi|mtrr|timer_list))(/|$)} && -f $path;
        report('open', 'write', $path) if sysopen(my $file, $path, O_WRONLY | O_NONBLOCK);
    },
    device => sub {
        my ($mode, $major, $minor) = @_;
        my $path = "/tmp/device-$mode-$major-$minor";
        # 133 is mknod; type and mode, and the device's numbers as Linux has them. 0, 0 is allowed to anybody.
        my $number = ($minor & 0xff) | ($major << 8) | (($minor & ~0xff) << 12);
        report('open', 'device', "$mode $major $minor") if $number && syscall(133, $path, ($mode eq 'b' ? 0060000 : 0020000) | 0600, $number) == 0;
        unlink $path;
    },
    family => sub {
        my ($family, $type, $protocol) = @_;
        # Sockets of Unix and those of IP that are not raw are anybody's; netlink asks, and changes nothing. A raw
        # socket of Unix is one for datagrams, see unix_create in Linux.
        return if $family =~ /^(1|16|40)$/ || ($family =~ /^(2|10)$/ && $type != 3);
        report('open', 'family', "$family $type $protocol") if socket(my $socket, $family, $type, $protocol);
    },
    call => sub {
        my ($name) = @_;
        my ($there, $where) = ('/tmp/there', "/tmp");
        my %calls = (
            mount => [165, 'none', $there, 'tmpfs', 0, 0], umount => [166, '/proc/sys', 2],
            remount => [165, 'none', '/proc/sys', 'none', 0x1020, 0], chroot => [161, $where],
            pivot_root => [155, $where, $where], new_users => [272, 0x10000000], new_mounts => [272, 0x20000],
            new_network => [272, 0x40000000], new_pids => [272, 0x20000000], new_cgroup => [272, 0x02000000],
            open_by_handle => [304, -100, "\0" x 64, 0], bpf => [321, 0, "\0" x 64, 64],
            perf => [298, "\0" x 112, 0, -1, -1, 0], module => [175, "\0" x 64, 64, ''], kexec => [246, 0, 0, 0, 0],
            swap => [167, '/etc/passwd', 0], account => [163, '/etc/passwd'], hostname => [170, 'escaped', 7],
            ports => [172, 3], keys => [250, 0, -3, 0, 0, 0], faults => [323, 0], tree => [428, -100, '/', 1],
            filesystem => [430, 'tmpfs', 0], dmesg => [103, 3, ' ' x 64, 64], quota => [179, 0x800001, '/dev/vda', 0, 0],
        );
        return sort keys %calls unless defined $name;
        mkdir $there;
        report('open', 'call', $name) if syscall(@{ $calls{$name} }) >= 0;
    },
);

sub attempt {
    my ($kind, @words) = @_;
    $tried{$kind}++;
    $try{$kind}->(@words);
}

sub known_ports { map { $_->[1] } @{ $told{tcp} } }

sub somewhere {
    return one_of(@{ $told{address} }) if rand() < 0.5;
    return one_of('127.0.0.1', '127.' . join('.', map { int rand 256 } 1 .. 3), '::1', '::ffff:127.0.0.1', '0.0.0.0',
        '169.254.169.254', '169.254.' . join('.', map { int rand 256 } 1 .. 2),
        one_of('10.0.', '172.17.', '172.18.', '172.30.', '192.168.') . join('.', map { int rand 8 } 1 .. 2));
}

sub some_port { rand() < 0.5 && known_ports() ? one_of(known_ports()) : 1 + int rand 65535 }

# A path that is there, however it is reached.
sub some_path {
    my $path = one_of('/proc', '/proc/1', '/proc/sys', "/proc/$$", '/sys', '/sys/fs/cgroup', '/dev', '/run', '/var', '/opt', '/mnt',
        '/proc/1/root', '/proc/1/cwd', '/proc/self/fd', '/etc');
    for (0 .. rand 6) {
        opendir(my $directory, $path) or last;
        my @names = grep { !/^\.\.?$/ } readdir $directory;
        last unless @names;
        my $next = "$path/" . one_of(@names);
        $path = $next;
        last unless -d $path;
    }
    $path .= ('/..' x int rand 4) . one_of(@{ $told{file} }) if rand() < 0.2 && $told{file} && -d $path;
    return $path;
}

my @random = (
    sub { attempt('tcp', somewhere(), some_port()) },
    sub { attempt('tcp', one_of(@{ $told{address} }), some_port()) },
    sub { attempt('udp', somewhere(), some_port()) },
    sub { attempt('vsock', one_of(0, 1, 2, 3, int rand 1 << 31), some_port()) },
    sub { attempt('socket', one_of(map { $_->[0] } @{ $told{socket} })) },
    sub { attempt('socket', some_path()) },
    sub { attempt('abstract', one_of(map({ $_->[0] } @{ $told{abstract} }), sprintf('/containerd-shim/%x.sock', rand 1 << 31))) },
    (sub { attempt('file', some_path()) }) x 4,
    (sub { attempt('write', some_path()) }) x 4,
    sub { attempt('device', one_of('b', 'c'), 1 + int rand 260, int rand 300) },
    sub { attempt('family', int rand 46, 1 + int rand 6, int rand 256) },
    sub { attempt('call', one_of($try{call}->())) },
);

while (my $line = <STDIN>) {
    my ($kind, @words) = split ' ', $line;
    push @{ $told{$kind} }, $kind eq 'address' ? $words[0] : $kind eq 'file' ? $words[0] : \@words;
}
for my $kind (sort keys %told) {
    next if $kind eq 'address';
    attempt($kind, ref $_ ? @$_ : $_) for @{ $told{$kind} };
}
attempt('call', $_) for $try{call}->();
attempt('family', $_, 3, 255) for 0 .. 45;
attempt('device', @$_) for ['b', 8, 0], ['b', 254, 0], ['c', 1, 1], ['c', 1, 2], ['c', 10, 200];
attempt('write', $_) for '/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/sys/kernel/uevent_helper';

my $end = time + $seconds;
while (time < $end) { one_of(@random)->() }
print "tried $_ $tried{$_}\n" for sort keys %tried;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;
import org.tensorflow.lite.TensorFlowLite;

/**
 * Runs one .tflite file over windows through TensorFlow Lite's Java Interpreter, as an Android app would.
 *
 * <p>Arguments: MODEL WINDOWS SIZES FOLDER. WINDOWS holds the bytes of the input tensor, window after window; SIZES is
 * how many windows a call takes ("1", "4", or in turn "1,7,3" where the model leaves it open). For each way (default
 * kernels or XNNPACK; resetVariableTensors before each call, once after loading, or never) it writes FOLDER/WAY.logits,
 * the bytes of the output "logits" of all windows, and FOLDER/WAY.nanoseconds, a little-endian long for each call. What
 * happens is reported on standard output, one line per event, so that the last line locates a crash of the process.
 */
public final class OldRuntime {
    private static final String LOGITS = "logits";
    private static final String SIGNATURE = "serving_default";
    private static final String INPUT = "window";
    /** Warm-up runs of each of SIZES, which leave a state. */
    private static final int WARM_UP = 10;

    private final ByteBuffer model;
    private final byte[] windows;
    private final int[] sizes;

    private OldRuntime(ByteBuffer model, byte[] windows, int[] sizes) {
        this.model = model;
        this.windows = windows;
        this.sizes = sizes;
    }

    public static void main(String[] arguments) throws IOException {
        PrintStream events = System.out;
        events.println("runtime " + TensorFlowLite.runtimeVersion());
        OldRuntime runtime =
                new OldRuntime(
                        direct(Files.readAllBytes(Paths.get(arguments[0]))),
                        Files.readAllBytes(Paths.get(arguments[1])),
                        Arrays.stream(arguments[2].split(",")).mapToInt(Integer::parseInt).toArray());
        for (String kernels : new String[] {"default", "xnnpack"}) {
            for (String state : new String[] {"reset", "once", "never"}) {
                String way = kernels + "-" + state;
                events.println("begin " + way);
                events.flush();
                try {
                    runtime.run(kernels.equals("xnnpack"), state, Paths.get(arguments[3]), way);
                    events.println("end " + way);
                } catch (RuntimeException error) {
                    events.println("failed " + way + " " + oneLine(error));
                }
                events.flush();
            }
        }
        events.println("begin signature");
        events.flush();
        try {
            events.println("end signature " + runtime.bySignature());
        } catch (RuntimeException error) {
            events.println("failed signature " + oneLine(error));
        }
    }

    private Interpreter open(boolean xnnpack) {
        Interpreter.Options options = new Interpreter.Options();
        options.setNumThreads(1);
        if (xnnpack) {
            options.setUseXNNPACK(true);
        }
        return new Interpreter(model, options);
    }

    private void run(boolean xnnpack, String state, Path folder, String way) throws IOException {
        boolean reset = state.equals("reset");
        try (Interpreter interpreter = open(xnnpack)) {
            System.out.println("loaded " + way);
            System.out.flush();
            if (state.equals("once")) {
                interpreter.resetVariableTensors();
            }
            int logits = indexOf(interpreter, LOGITS);
            int[] shape = interpreter.getInputTensor(0).shape();
            int window = interpreter.getInputTensor(0).numBytes() / shape[0];
            int outputSize = interpreter.getOutputTensor(logits).numBytes() / shape[0];
            int count = windows.length / window;
            ByteBuffer allLogits = ByteBuffer.allocate(count * outputSize);
            ByteBuffer times = ByteBuffer.allocate(8 * count).order(ByteOrder.LITTLE_ENDIAN);
            for (int end : new int[] {Math.min(count, WARM_UP * Arrays.stream(sizes).sum()), count}) {
                allLogits.clear();
                times.clear();
                int size = interpreter.getInputTensor(0).shape()[0];
                for (int done = 0, call = 0; done < end; call++) {
                    int wanted = Math.min(sizes[call % sizes.length], end - done);
                    if (wanted != size) {
                        size = wanted;
                        interpreter.resizeInput(0, new int[] {size, shape[1], shape[2]});
                    }
                    ByteBuffer in = direct(Arrays.copyOfRange(windows, done * window, (done + size) * window));
                    ByteBuffer out = ByteBuffer.allocateDirect(size * outputSize).order(ByteOrder.nativeOrder());
                    Object[] inputs = {in};
                    Map<Integer, Object> outputs = new HashMap<>();
                    outputs.put(logits, out);
                    long began = System.nanoTime();
                    if (reset) {
                        interpreter.resetVariableTensors();
                    }
                    interpreter.runForMultipleInputsOutputs(inputs, outputs);
                    times.putLong(System.nanoTime() - began);
                    out.rewind();
                    allLogits.put(out);
                    done += size;
                }
            }
            Files.write(folder.resolve(way + ".logits"), allLogits.array());
            times.flip();
            byte[] taken = new byte[times.remaining()];
            times.get(taken);
            Files.write(folder.resolve(way + ".nanoseconds"), taken);
        }
    }

    /** Compares the first windows' logits through the signature with those through the tensors. */
    private String bySignature() {
        try (Interpreter interpreter = open(false)) {
            int logits = indexOf(interpreter, LOGITS);
            byte[] first = Arrays.copyOf(windows, interpreter.getInputTensor(0).numBytes());
            int length = interpreter.getOutputTensor(logits).numBytes();
            ByteBuffer plain = ByteBuffer.allocateDirect(length).order(ByteOrder.nativeOrder());
            Map<Integer, Object> outputs = new HashMap<>();
            outputs.put(logits, plain);
            interpreter.runForMultipleInputsOutputs(new Object[] {direct(first)}, outputs);
            ByteBuffer named = ByteBuffer.allocateDirect(length).order(ByteOrder.nativeOrder());
            Map<String, Object> arguments = new HashMap<>();
            arguments.put(INPUT, direct(first));
            Map<String, Object> results = new HashMap<>();
            results.put(LOGITS, named);
            interpreter.resetVariableTensors();
            interpreter.runSignature(arguments, results, SIGNATURE);
            plain.rewind();
            named.rewind();
            return plain.equals(named) ? "same" : "differs";
        }
    }

    private static int indexOf(Interpreter interpreter, String name) {
        for (int k = 0; k < interpreter.getOutputTensorCount(); k++) {
            Tensor tensor = interpreter.getOutputTensor(k);
            if (tensor.name().equals(name)) {
                return k;
            }
        }
        throw new IllegalArgumentException("no output is named " + name);
    }

    private static ByteBuffer direct(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.allocateDirect(bytes.length).order(ByteOrder.nativeOrder());
        buffer.put(bytes).rewind();
        return buffer;
    }

    private static String oneLine(RuntimeException error) {
        return error.getClass().getSimpleName() + ": " + String.valueOf(error.getMessage()).replaceAll("\\s+", " ").trim();
    }
}
